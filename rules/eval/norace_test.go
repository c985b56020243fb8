//go:build !race

package eval

const slowness = 1
