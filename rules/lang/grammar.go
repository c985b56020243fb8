package lang

import (
	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// Every node has its place in Pos; EndPos is where the token behind it begins, so Source.Trim finds its end.

// File is one rule file.
type File struct {
	Pos, EndPos Pos
	Statements  []*Statement `parser:"EOL* (@@ EOL*)*"`

	Source *Source `parser:""`
	// Lost is what the statements that could not be understood may have defined.
	Lost Lost `parser:""`
}

// Statement is one statement of a file; exactly one field is set. Of a Broken one only the lines of its block mean
// something: its head could not be understood.
type Statement struct {
	Pos, EndPos Pos
	Broken      bool       `parser:""`
	Host        *Host      `parser:"( @@"`
	Spool       *Spool     `parser:"| @@"`
	Set         *Set       `parser:"| @@"`
	Define      *Define    `parser:"| @@"`
	Include     *Include   `parser:"| @@"`
	Use         *Use       `parser:"| @@"`
	Class       *Class     `parser:"| @@"`
	Table       *Table     `parser:"| @@"`
	Transport   *Transport `parser:"| @@"`
	Ruleset     *Ruleset   `parser:"| @@"`
	Route       *Route     `parser:"| @@"`
	Accept      *Accept    `parser:"| @@"`
	Send        *Send      `parser:"| @@"`
	Schedule    *Schedule  `parser:"| @@"`
	Test        *Test      `parser:"| @@ )"`
}

// Host says which name the machine has: `host mail.example.org`.
type Host struct {
	Pos, EndPos Pos
	Name        *Values `parser:"'host' @@"`
}

// Spool says where the queue is: `spool /var/spool/waybill`.
type Spool struct {
	Pos, EndPos Pos
	Dir         *Values `parser:"'spool' @@"`
}

// Set changes a setting: `set retry 1m 5m 1h`.
type Set struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"'set' @@"`
	Values      *Values `parser:"@@"`
}

// Define names a text that rules use as ${name}: `define hub hub.example.org`.
type Define struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"'define' @@"`
	Value       *Values `parser:"@@"`
}

// Include reads further files, in the order of their names: `include "conf.d/*.rules"`.
type Include struct {
	Pos, EndPos Pos
	Pattern     *Values `parser:"'include' @@"`
}

// Use takes a part of the standard library: `use mailertable`, with arguments where it wants some.
type Use struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"'use' @@"`
	Args        *Values `parser:"@@?"`
}

// Class is a set of words: `class local { example.org @/etc/mail/names }`.
type Class struct {
	Pos, EndPos Pos
	Name        *Name     `parser:"'class' @@ '{'"`
	Members     []*Member `parser:"EOL* (@@ EOL*)* '}'"`
}

// Member is one line of members of a class.
type Member struct {
	Pos, EndPos Pos
	Values      *Values `parser:"@@"`
}

// Table declares a lookup table: `table hops text /etc/mail/mailertable`.
type Table struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"'table' @@"`
	Class       *Name   `parser:"@@"`
	Args        *Values `parser:"@@?"`
}

// Transport declares a way to deliver: `transport esmtp smtp { concurrency 20 }`.
type Transport struct {
	Pos, EndPos Pos
	Name        *Name    `parser:"'transport' @@"`
	Kind        *Name    `parser:"@@"`
	Params      []*Param `parser:"('{' EOL* (@@ EOL*)* '}')?"`
}

// Param is one parameter of a transport.
type Param struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"@@"`
	Values      *Values `parser:"@@?"`
}

// Ruleset is a named list of rules; a number makes it known to sendmail's callers too: `ruleset canonify 3 { ... }`.
type Ruleset struct {
	Pos, EndPos Pos
	Name        *Name   `parser:"'ruleset' @@"`
	Number      *Name   `parser:"@@? '{'"`
	Rules       []*Rule `parser:"EOL* (@@ EOL*)* '}'"`
}

// Route decides where mail goes; the first rule that matches resolves.
type Route struct {
	Pos, EndPos Pos
	Rules       []*Rule `parser:"'route' '{' EOL* (@@ EOL*)* '}'"`
}

// Rule is a pattern, perhaps a condition, and what happens then.
type Rule struct {
	Pos, EndPos Pos
	Pattern     *Pattern `parser:"( @@"`
	Otherwise   bool     `parser:"| @'otherwise' )"`
	Where       *Cond    `parser:"('where' @@)?"`
	Action      *Action  `parser:"@@"`
}

// Action is what a rule does: it rewrites, resolves, or gives a verdict.
type Action struct {
	Pos, EndPos Pos
	Resolve     *Resolve `parser:"( @@"`
	Rewrite     *Rewrite `parser:"| @@"`
	Verdict     *Verdict `parser:"| @@ )"`
}

// Rewrite replaces the address: `-> $user < @ $domain >`. Without a mode the rule is tried again.
type Rewrite struct {
	Pos, EndPos Pos
	Mode        string  `parser:"'->' @('once' | 'return' | 'repeat')?"`
	Parts       []*Part `parser:"@@*"`
}

// Part is a piece of a replacement.
type Part struct {
	Pos, EndPos Pos
	Text        *Text   `parser:"( @@"`
	Call        *Callee `parser:"| 'call' @@"`
	Lookup      *Lookup `parser:"| @@ )"`
}

// Callee is the name of a ruleset that gets everything behind it.
type Callee struct {
	Pos, EndPos Pos
	Name        []lexer.Token `parser:"@(Word | Var | Quoted)"`
}

// Lookup asks a table: `hops($domain, $user else $domain)`.
type Lookup struct {
	Pos, EndPos Pos
	Table       string   `parser:"@Call"`
	Args        []*Arg   `parser:"@@ (',' @@)*"`
	HasElse     bool     `parser:"( @'else'"`
	Else        []*Piece `parser:"@@* )? ')'"`
}

// Arg is the key of a lookup or one of its further arguments.
type Arg struct {
	Pos, EndPos Pos
	Text        *Text `parser:"@@?"`
}

// Piece is a part of what a lookup yields when nothing was found.
type Piece struct {
	Pos, EndPos Pos
	Text        *Text   `parser:"( @@"`
	Call        *Callee `parser:"| 'call' @@ )"`
}

// Resolve ends the evaluation: `=> esmtp $domain $user@$domain queue between 22:00 and 06:00`, or `=> reject ...`.
type Resolve struct {
	Pos, EndPos Pos
	Parts       []*Part  `parser:"'=>' ( @@+"`
	When        string   `parser:"  @('now' | 'background' | 'queue' | 'defer')?"`
	Window      *Window  `parser:"  @@?"`
	Verdict     *Verdict `parser:"| @@ )"`
}

// Window is a time of the day.
type Window struct {
	Pos, EndPos Pos
	From        string `parser:"'between' @Word"`
	To          string `parser:"'and' @Word"`
}

// Verdict ends an accept block.
type Verdict struct {
	Pos, EndPos Pos
	Word        string  `parser:"( @('ok' | 'discard')"`
	Reject      *Reject `parser:"| @@"`
	Why         *Text   `parser:"| 'quarantine' @@ )"`
}

// Reject refuses, for good with 5xx and for now with 4xx.
type Reject struct {
	Pos, EndPos Pos
	Code        string `parser:"'reject' @Word"`
	Enhanced    string `parser:"@Word?"`
	Text        *Text  `parser:"@@?"`
}

// Accept is a policy for one stage of the reception: `accept rcpt { ... }`.
type Accept struct {
	Pos, EndPos Pos
	Stage       *Name       `parser:"'accept' @@"`
	Header      *Name       `parser:"@@? '{'"`
	Rules       []*HookRule `parser:"EOL* (@@ EOL*)* '}'"`
}

// HookRule is a rule of an accept block: it may be a condition alone.
type HookRule struct {
	Pos, EndPos Pos
	Otherwise   bool     `parser:"( @'otherwise'"`
	Cond        *Cond    `parser:"| (?= Call | 'not' | '(' | 'client' | 'name' | 'helo' | 'sender' | 'recipient' | 'recipients' | 'size' | 'load' | 'time' | 'header' | 'auth' | 'tls' | 'transport' | 'mailer' | 'focus') @@"`
	Pattern     *Pattern `parser:"| @@ )"`
	Where       *Cond    `parser:"('where' @@)?"`
	Action      *Action  `parser:"@@"`
}

// Send decides when mail goes.
type Send struct {
	Pos, EndPos Pos
	Rules       []*SendRule `parser:"'send' '{' EOL* (@@ EOL*)* '}'"`
}

// SendRule is one line of a send block. The first rule with a time that holds decides it; a priority alone goes on.
type SendRule struct {
	Pos, EndPos Pos
	Otherwise   bool    `parser:"( @'otherwise'"`
	Cond        *Cond   `parser:"| @@ )"`
	When        string  `parser:"( @('now' | 'background' | 'queue' | 'defer')"`
	Window      *Window `parser:"@@?"`
	Priority    string  `parser:"('priority' @Word)? | 'priority' @Word )"`
}

// Schedule says how often and how long mail is tried.
type Schedule struct {
	Pos, EndPos Pos
	Rules       []*ScheduleRule `parser:"'schedule' '{' EOL* (@@ EOL*)* '}'"`
}

// ScheduleRule is one line of a schedule block: `host in slow => retry 1h 4h  give-up 10d`. Each thing is decided by the
// first line that holds and speaks of it.
type ScheduleRule struct {
	Pos, EndPos Pos
	Otherwise   bool    `parser:"( @'otherwise'"`
	Cond        *Cond   `parser:"| @@ )"`
	Words       *Values `parser:"'=>' @@"`
}

// Cond is a condition: alternatives joined by "or".
type Cond struct {
	Pos, EndPos Pos
	Or          []*AllOf `parser:"@@ ('or' @@)*"`
}

// AllOf is conditions joined by "and".
type AllOf struct {
	Pos, EndPos Pos
	And         []*Unary `parser:"@@ ('and' @@)*"`
}

// Unary is one condition, perhaps negated.
type Unary struct {
	Pos, EndPos Pos
	Not         bool        `parser:"@'not'?"`
	Group       *Cond       `parser:"( '(' @@ ')'"`
	Lookup      *LookupTest `parser:"| @@"`
	Capture     *VarTest    `parser:"| @@"`
	Fact        *FactTest   `parser:"| @@ )"`
}

// LookupTest holds when a table has the key, and when the value fits.
type LookupTest struct {
	Pos, EndPos Pos
	Lookup      *Lookup  `parser:"@@"`
	Is          *Pattern `parser:"( 'is' @@"`
	In          *Name    `parser:"| 'in' @@"`
	Op          string   `parser:"| @('<' | '>' | '<=' | '>=')"`
	Value       *Name    `parser:"  @@ )?"`
}

// VarTest looks at a capture or a macro: `$domain in partners`, `$&{auth_type} is $+`, `$n > 5`.
type VarTest struct {
	Pos, EndPos Pos
	Var         string   `parser:"@Var"`
	In          *Name    `parser:"( 'in' @@"`
	Is          *Pattern `parser:"| 'is' @@"`
	Op          string   `parser:"| @('<' | '>' | '<=' | '>=')"`
	Value       *Name    `parser:"  @@ )"`
}

// FactTest looks at something known about the message or its client: `size > 20M`, `client in inside`.
type FactTest struct {
	Pos, EndPos Pos
	Fact        string   `parser:"@(Word | 'priority')"`
	Arg         *Name    `parser:"( (?! Keyword | 'in' | 'is') @@ )?"`
	In          *Name    `parser:"( 'in' @@"`
	Is          *Pattern `parser:"| 'is' @@"`
	Op          string   `parser:"| @('<' | '>' | '<=' | '>=')"`
	Value       *Name    `parser:"  @@"`
	Window      *Window  `parser:"| @@ )?"`
}

// Test is a list of addresses and what the rules must make of them.
type Test struct {
	Pos, EndPos Pos
	Name        *Name       `parser:"'test' @@ '{'"`
	Lines       []*TestLine `parser:"EOL* (@@ EOL*)* '}'"`
}

// TestLine is `given client 192.0.2.1`, `given hops(x.example) is y`, `ADDRESS => outcome` or `rewrite NAME ADDRESS -> result`.
type TestLine struct {
	Pos, EndPos Pos
	Given       *Given  `parser:"( @@"`
	Input       *Values `parser:"| @@"`
	Arrow       string  `parser:"  @('->' | '=>')"`
	Output      *Values `parser:"  @@ )"`
}

// Given says under which circumstances the lines below it hold.
type Given struct {
	Pos, EndPos Pos
	Lookup      *Lookup `parser:"'given' ( @@"`
	Missing     bool    `parser:"  ( @'missing'"`
	Fails       bool    `parser:"  | @'fails'"`
	Value       *Values `parser:"  | 'is' @@ )"`
	Fact        *Name   `parser:"| @@"`
	Values      *Values `parser:"  @@? )"`
}

// Name is one word.
type Name struct {
	Pos, EndPos Pos
	Raw         string `parser:"@(Word | Keyword | String | Quoted)"`
}

// Pattern, Text and Values are runs of words. They parse themselves: participle would try each kind of word for each
// word anew.

// Pattern is what an address must look like.
type Pattern struct{ Words }

// Text is literal text and captures.
type Text struct{ Words }

// Values is whatever stands on the rest of a line.
type Values struct{ Words }

// Words are a run of words and quoted texts.
type Words struct {
	Pos, EndPos Pos
	Run         []lexer.Token
	items       []Item // of Run, once somebody asked for them
}

const runs = `Pattern = (<word> | <var> | <string> | <quoted> | <sym>)+ .
Text = (<word> | <var> | <string> | <quoted> | <sym>)+ .
Values = (<word> | <keyword> | <call> | <var> | <string> | <quoted> | <sym> | <comma> | <lparen> | <rparen>)+ .`

// Parse takes the words of a pattern.
func (p *Pattern) Parse(lex *lexer.PeekingLexer) error { return p.take(lex, isText) }

// Parse takes the words of a text.
func (t *Text) Parse(lex *lexer.PeekingLexer) error { return t.take(lex, isText) }

// Parse takes everything up to the end of the line.
func (v *Values) Parse(lex *lexer.PeekingLexer) error { return v.take(lex, isValue) }

func isText(t lexer.TokenType) bool {
	switch t {
	case tokWord, tokVar, tokString, tokQuoted, tokSym:
		return true
	}
	return false
}

func isValue(t lexer.TokenType) bool {
	switch t {
	case tokKeyword, tokCall, tokComma, tokLParen, tokRParen:
		return true
	}
	return isText(t)
}

// take takes the longest run of tokens of a kind, at least one.
func (w *Words) take(lex *lexer.PeekingLexer, kind func(lexer.TokenType) bool) error {
	start := lex.RawCursor()
	for kind(lex.Peek().Type) {
		lex.Next()
	}
	if w.Run = lex.Range(start, lex.RawCursor()); len(w.Run) == 0 {
		return participle.NextMatch
	}
	w.Pos, w.EndPos = Pos(w.Run[0].Pos), Pos(lex.Peek().Pos)
	return nil
}
