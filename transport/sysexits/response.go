package sysexits

// Response is what sendmail says about a program or a host that ended with this status: the codes of an SMTP reply, a
// text, and whether the recipient stands before the text. ok is false for a status that has no meaning of its own.
func Response(exit int) (code int, enhanced, text string, named, ok bool) {
	r, ok := responses[exit]
	return r.code, r.enhanced, r.text, r.named, ok
}

var responses = map[int]struct {
	code           int
	enhanced, text string
	named          bool
}{
	Usage:       {500, "5.0.0", "Command line usage error", false},
	DataErr:     {501, "5.6.0", "Data format error", false},
	NoInput:     {550, "5.3.0", "Cannot open input", true},
	NoUser:      {550, "5.1.1", "User unknown", true},
	NoHost:      {550, "5.1.2", "Host unknown", true},
	Unavailable: {554, "5.0.0", "Service unavailable", false},
	Software:    {554, "5.3.0", "Internal error", false},
	OSErr:       {451, "4.0.0", "Operating system error", false},
	OSFile:      {554, "5.3.5", "System file missing", false},
	CantCreat:   {550, "5.0.0", "Can't create output", true},
	IOErr:       {451, "4.0.0", "I/O error", false},
	Protocol:    {554, "5.5.0", "Remote protocol error", false},
	NoPerm:      {550, "5.0.0", "Insufficient permission", true},
	Config:      {554, "5.3.5", "Local configuration error", false},
}
