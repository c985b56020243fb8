//go:build !race

package queue

const stride = 1
