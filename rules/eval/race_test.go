//go:build race

package eval

// slowness is how much longer everything may take elsewhere and under the race detector.
const slowness = 40
