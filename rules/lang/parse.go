// Package lang is the rule language: text flows in, a syntax tree with the place of every node flows out, or every
// mistake of the text at once, each with its place, the source line, a caret and a remedy. Format lays a text out
// anew. The language is described in README.md; EBNF returns its grammar. Nothing is looked up and nothing is
// evaluated here.
package lang

import (
	"errors"
	"slices"
	"strings"

	"github.com/alecthomas/participle/v2"
	"github.com/alecthomas/participle/v2/lexer"
)

// Parser holds the grammar. It is immutable and safe for concurrent use; making one takes a moment, so keep it.
type Parser struct {
	file      *participle.Parser[File]
	statement *participle.Parser[Statement]
	by        map[string]parse // statements by their first word: the grammar of all would try each in turn
	rule      *participle.Parser[Rule]
	hookRule  *participle.Parser[HookRule]
	sendRule  *participle.Parser[SendRule]
	schedule  *participle.Parser[ScheduleRule]
	testLine  *participle.Parser[TestLine]
	param     *participle.Parser[Param]
	member    *participle.Parser[Member]
}

// NewParser builds the parser from the tags of the syntax tree.
func NewParser() *Parser {
	file := participle.MustBuild[File](participle.Lexer(definition{}), participle.UseLookahead(2))
	p := &Parser{file: file}
	p.statement = production[Statement](file)
	p.by = map[string]parse{
		"host":      one(file, func(s *Statement, n *Host) { s.Host = n }),
		"spool":     one(file, func(s *Statement, n *Spool) { s.Spool = n }),
		"set":       one(file, func(s *Statement, n *Set) { s.Set = n }),
		"define":    one(file, func(s *Statement, n *Define) { s.Define = n }),
		"include":   one(file, func(s *Statement, n *Include) { s.Include = n }),
		"use":       one(file, func(s *Statement, n *Use) { s.Use = n }),
		"class":     one(file, func(s *Statement, n *Class) { s.Class = n }),
		"table":     one(file, func(s *Statement, n *Table) { s.Table = n }),
		"transport": one(file, func(s *Statement, n *Transport) { s.Transport = n }),
		"ruleset":   one(file, func(s *Statement, n *Ruleset) { s.Ruleset = n }),
		"route":     one(file, func(s *Statement, n *Route) { s.Route = n }),
		"accept":    one(file, func(s *Statement, n *Accept) { s.Accept = n }),
		"send":      one(file, func(s *Statement, n *Send) { s.Send = n }),
		"schedule":  one(file, func(s *Statement, n *Schedule) { s.Schedule = n }),
		"test":      one(file, func(s *Statement, n *Test) { s.Test = n }),
	}
	p.rule = production[Rule](file)
	p.hookRule = production[HookRule](file)
	p.sendRule = production[SendRule](file)
	p.schedule = production[ScheduleRule](file)
	p.testLine = production[TestLine](file)
	p.param = production[Param](file)
	p.member = production[Member](file)
	return p
}

func production[P any](file *participle.Parser[File]) *participle.Parser[P] {
	p, err := participle.ParserForProduction[P](file)
	if err != nil {
		panic(err) // the grammar is part of the program
	}
	return p
}

// parse reads the tokens of one statement.
type parse func([]lexer.Token) (*Statement, error)

func one[P any](file *participle.Parser[File], put func(*Statement, *P)) parse {
	parser := production[P](file)
	return func(tokens []lexer.Token) (*Statement, error) {
		node, err := parseTokens(parser, tokens)
		if err != nil {
			return nil, err
		}
		st := &Statement{Pos: Pos(tokens[0].Pos), EndPos: Pos(behind(tokens).Pos)}
		put(st, node)
		return st, nil
	}
}

// parseStatement reads a statement by its first word. What is wrong with it, the whole grammar tells.
func (p *Parser) parseStatement(tokens []lexer.Token) (*Statement, error) {
	if parse := p.by[tokens[0].Value]; parse != nil {
		if st, err := parse(tokens); err == nil {
			return st, nil
		}
	}
	return parseTokens(p.statement, tokens)
}

// behind is the end of a list of tokens.
func behind(tokens []lexer.Token) lexer.Token {
	last := tokens[len(tokens)-1]
	end := lexer.EOFToken(last.Pos)
	end.Pos.Advance(last.Value)
	return end
}

// EBNF returns the grammar, generated from the same tags that parse.
func (p *Parser) EBNF() string { return p.file.String() + "\n" + runs }

// Parse reads a rule file. participle stops at the first mistake, so statements, and in a block that does not parse
// its lines, are handed to it one by one: every mistake is reported. The tree holds all that could be understood.
func (p *Parser) Parse(src *Source) (*File, Diagnostics) {
	var diags Diagnostics
	tokens := scan(src, &diags)
	file := &File{Source: src, Pos: Pos(tokens[0].Pos), EndPos: Pos(tokens[len(tokens)-1].Pos)}
	// White space and comments stay out of the grammar. Places tell what stands together.
	kept := tokens[:0]
	for _, t := range tokens {
		if t.Type != tokSpace && t.Type != tokComment {
			kept = append(kept, t)
		}
	}
	tokens = kept
	for _, chunk := range p.split(src, tokens, &diags) {
		if chunk.broken && chunk.body == 0 {
			file.Lost.add(chunk)
			continue
		}
		if chunk.body == 0 {
			st, err := p.parseStatement(chunk.tokens)
			if err == nil {
				file.Statements = append(file.Statements, st)
				continue
			}
			p.explain(src, &diags, chunk.tokens, kindStatement, err)
			file.Lost.add(chunk)
			continue
		}
		st := p.parseBlock(src, &diags, chunk)
		if st == nil || st.Broken {
			file.Lost.add(chunk)
		}
		if st != nil {
			file.Statements = append(file.Statements, st)
		}
	}
	sortDiagnostics(diags)
	return file, diags
}

// errGrammar is returned where participle panics: a text that the grammar should not have let come so far.
var errGrammar = errors.New("this cannot be understood")

func parseTokens[P any](parser *participle.Parser[P], tokens []lexer.Token) (node *P, err error) {
	defer func() {
		if p := recover(); p != nil {
			node, err = nil, errGrammar
			if e, ok := p.(participle.Error); ok {
				err = e
			}
		}
	}()
	end := behind(tokens)
	if tokens[len(tokens)-1].Type == tokEOF {
		tokens = tokens[:len(tokens)-1]
	}
	peek, err := lexer.Upgrade(&tokenList{tokens, end})
	if err != nil {
		return nil, err
	}
	return parser.ParseFromLexer(peek)
}

// chunk is the tokens of one statement.
type chunk struct {
	tokens []lexer.Token
	body   int  // index in tokens of the brace that opens the body; 0: no body
	closed bool // the last token is the brace that closes it
	broken bool // holds a Bad token outside of a body
}

// split finds the statements: a statement ends with its line, or with the brace that closes its body.
func (p *Parser) split(src *Source, tokens []lexer.Token, diags *Diagnostics) []chunk {
	var chunks []chunk
	i := 0
	for i < len(tokens) && tokens[i].Type != tokEOF {
		switch tokens[i].Type {
		case tokEOL:
			i++
			continue
		case tokRBrace:
			src.report(diags, Pos(tokens[i].Pos), Pos{}, "this brace closes nothing", "remove it, or look for a block that was closed too early")
			i++
			continue
		}
		c := chunk{}
		start := i
		for i < len(tokens) && tokens[i].Type != tokEOF && tokens[i].Type != tokEOL && tokens[i].Type != tokLBrace && tokens[i].Type != tokRBrace {
			c.broken = c.broken || tokens[i].Type == tokBad
			i++
		}
		if last := i - 1; c.broken && tokens[i].Type == tokEOL && tokens[last].Type == tokBad && strings.HasSuffix(tokens[last].Value, "{") {
			tokens[i].Type = tokLBrace // a quote that was never closed has taken the brace
		}
		if tokens[i].Type == tokLBrace {
			c.body = i - start
			open := tokens[i]
			i, c.closed = p.block(tokens, i)
			if !c.closed {
				src.report(diags, Pos(open.Pos), Pos{}, "this block is never closed", "write } where it ends")
			}
			if c.body == 0 {
				src.report(diags, Pos(open.Pos), Pos{}, "a block without a name", "write what it is: "+statementWords)
				continue
			}
		}
		c.tokens = trim(tokens[start:i])
		for j, t := range c.tokens { // a Bad token inside of a line spoils that line only
			if t.Type == tokBad && (c.body == 0 || j < c.body) {
				c.broken = true
			}
		}
		chunks = append(chunks, c)
	}
	return chunks
}

// block returns the index behind the block that opens at tokens[i]. A line that begins in the first column with the
// word of a statement and cannot be a rule ends a block that somebody forgot to close.
func (p *Parser) block(tokens []lexer.Token, i int) (end int, closed bool) {
	i++
	lineStart := false
	for ; tokens[i].Type != tokEOF; i++ {
		switch t := tokens[i]; t.Type {
		case tokRBrace:
			return i + 1, true
		case tokLBrace:
			// No block holds another one: "ruleset b {" inside of a block means that the first was not closed.
			line := lineOf(tokens, i)
			arrow := slices.ContainsFunc(line, func(t lexer.Token) bool { return t.Type == tokArrow })
			if len(line) > 0 && isStatement(line[0].Value) && !arrow {
				return i - len(line), false
			}
			for j := i + 1; arrow && tokens[j].Type != tokEOL && tokens[j].Type != tokEOF; j++ {
				if tokens[j].Type == tokRBrace {
					i = j // braces inside of a rule spoil that rule only
					break
				}
			}
		case tokEOL:
			lineStart = true
			continue
		default:
			if lineStart && t.Pos.Column == 1 && isStatement(t.Value) && !hasArrow(tokens[i:]) {
				return i, false
			}
		}
		lineStart = false
	}
	return i, false
}

// lineOf returns the tokens of the logical line before tokens[i], from its first word on.
func lineOf(tokens []lexer.Token, i int) []lexer.Token {
	j := i
	for j > 0 && tokens[j-1].Type != tokEOL && tokens[j-1].Type != tokLBrace && tokens[j-1].Type != tokRBrace {
		j--
	}
	return tokens[j:i]
}

func hasArrow(tokens []lexer.Token) bool {
	for _, t := range tokens {
		switch t.Type {
		case tokArrow:
			return true
		case tokEOL, tokEOF, tokLBrace, tokRBrace:
			return false
		}
	}
	return false
}

const statementWords = "host, spool, set, define, include, use, class, table, transport, ruleset, route, accept, send, schedule or test"

func isStatement(word string) bool {
	switch word {
	case "host", "spool", "set", "define", "include", "use", "class", "table", "transport", "ruleset", "route", "accept", "send", "schedule", "test":
		return true
	}
	return false
}

// trim removes line ends from both ends.
func trim(tokens []lexer.Token) []lexer.Token {
	blank := func(t lexer.Token) bool { return t.Type == tokEOL || t.Type == tokEOF }
	for len(tokens) > 0 && blank(tokens[0]) {
		tokens = tokens[1:]
	}
	for len(tokens) > 0 && blank(tokens[len(tokens)-1]) {
		tokens = tokens[:len(tokens)-1]
	}
	return tokens
}

// parseBlock parses the head and each line of the body on its own.
func (p *Parser) parseBlock(src *Source, diags *Diagnostics, c chunk) *Statement {
	inside := c.tokens[c.body+1:]
	if c.closed {
		inside = inside[:len(inside)-1]
	}
	brace := c.tokens[c.body]
	end := brace
	end.Type, end.Value = tokRBrace, "}"
	head := append(append([]lexer.Token{}, c.tokens[:c.body+1]...), end)
	st, err := p.parseStatement(head)
	if err != nil {
		if !c.broken { // else it is reported already
			p.explain(src, diags, c.tokens[:c.body+1], kindStatement, err)
		}
		if st = emptyBlock(c.tokens[0].Value); st == nil {
			return nil
		}
		st.Broken, st.Pos, st.EndPos = true, Pos(c.tokens[0].Pos), Pos(brace.Pos)
	}
	for _, line := range lines(inside) {
		if hasBad(line) {
			continue
		}
		switch {
		case st.Ruleset != nil:
			addLine(p, src, diags, p.rule, (*quick).rule, line, kindRule, &st.Ruleset.Rules)
		case st.Route != nil:
			addLine(p, src, diags, p.rule, (*quick).rule, line, kindRule, &st.Route.Rules)
		case st.Accept != nil:
			addLine(p, src, diags, p.hookRule, (*quick).hookRule, line, kindHookRule, &st.Accept.Rules)
		case st.Send != nil:
			addLine(p, src, diags, p.sendRule, (*quick).sendRule, line, kindSendRule, &st.Send.Rules)
		case st.Schedule != nil:
			addLine(p, src, diags, p.schedule, (*quick).scheduleRule, line, kindScheduleRule, &st.Schedule.Rules)
		case st.Test != nil:
			addLine(p, src, diags, p.testLine, (*quick).testLine, line, kindTestLine, &st.Test.Lines)
		case st.Transport != nil:
			addLine(p, src, diags, p.param, (*quick).param, line, kindParam, &st.Transport.Params)
		case st.Class != nil:
			addLine(p, src, diags, p.member, (*quick).member, line, kindMember, &st.Class.Members)
		}
	}
	return st
}

// emptyBlock makes a statement for a block whose head is wrong, so that its lines are still checked.
func emptyBlock(word string) *Statement {
	switch word {
	case "ruleset":
		return &Statement{Ruleset: &Ruleset{}}
	case "route":
		return &Statement{Route: &Route{}}
	case "accept":
		return &Statement{Accept: &Accept{}}
	case "send":
		return &Statement{Send: &Send{}}
	case "schedule":
		return &Statement{Schedule: &Schedule{}}
	case "test":
		return &Statement{Test: &Test{}}
	case "transport":
		return &Statement{Transport: &Transport{}}
	case "class":
		return &Statement{Class: &Class{}}
	}
	return nil
}

// addLine reads one line of a block.
func addLine[P any](p *Parser, src *Source, diags *Diagnostics, parser *participle.Parser[P], read func(*quick) *P, line []lexer.Token, kind lineKind, to *[]*P) {
	node := quickly(line, read)
	if node == nil {
		var err error
		if node, err = parseTokens(parser, line); err != nil {
			p.explain(src, diags, line, kind, err)
			return
		}
	}
	*to = append(*to, node)
}

func lines(tokens []lexer.Token) [][]lexer.Token {
	var out [][]lexer.Token
	start := 0
	for i := 0; i <= len(tokens); i++ {
		if i == len(tokens) || tokens[i].Type == tokEOL {
			if line := trim(tokens[start:i]); len(line) > 0 {
				out = append(out, line)
			}
			start = i + 1
		}
	}
	return out
}

func hasBad(tokens []lexer.Token) bool {
	for _, t := range tokens {
		if t.Type == tokBad {
			return true
		}
	}
	return false
}
