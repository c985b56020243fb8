//go:build race

package rules

// pooled tells whether memory that is kept for the next question is there then: under the race detector, sync.Pool
// throws some of it away.
const pooled = false

// slowness is how much longer everything takes under the race detector.
const slowness = 20
