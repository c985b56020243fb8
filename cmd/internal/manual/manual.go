// Package manual has no code: its tests hold the manual pages of etc/man against what the packages know. Every flag of
// sendmail, every command of waybill, every statement, setting and parameter of the rules is in its page, and nothing
// else is.
package manual
