// Package arch has no code: its test holds the layout of the tree. It reads the import lines of every Go file in the
// module and compares them with the table of who may import whom, so that a shortcut between layers fails the build
// instead of a review.
package arch
