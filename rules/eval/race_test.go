//go:build race

package eval

// slowness is how much longer everything takes under the race detector.
const slowness = 20
