// Package installed has no code: its tests install Waybill as an administrator does, with "make install" and as a Debian
// package, and let the programs of a Debian host send mail through it.
package installed
