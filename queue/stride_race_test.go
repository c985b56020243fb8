//go:build race

package queue

// stride makes the crash tests try every nth step only: the race detector makes them ten times slower.
const stride = 5
