package testmode

import "waybill/compat/crack"

// crack takes an address apart as the configuration has it.
func (s *session) crack(text string) crack.Cracked {
	must, given := s.cfg.Option("MustQuoteChars", "")
	if !given {
		must = crack.DefaultMustQuote
	}
	return crack.Crack(text, crack.Options{MustQuote: must, ColonOK: s.cfg.Bool("ColonOkInAddr", s.cfg.Level < 6)})
}
