//go:build !race

package eval

// slowness is how much longer than here everything may take elsewhere.
const slowness = 4
