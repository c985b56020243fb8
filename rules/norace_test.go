//go:build !race

package rules

const pooled = true
