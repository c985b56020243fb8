//go:build !race

package rules

const pooled = true

const slowness = 1
