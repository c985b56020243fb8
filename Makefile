# make try    builds Waybill and lets real mail flow on a throw-away site: no root, nothing left behind
# make test   installs the peers it needs (with apt, as root) and runs every test
# make help   lists the other targets

GO       ?= go
PREFIX   ?= /usr
BIN      := bin
COMMANDS := waybill sendmail mail.local waybill-ldap waybill-bt
# Debian packages whose real programs the tests talk to; the C compiler is for the race detector.
PACKAGES := swaks sasl2-bin libsasl2-modules git git-email mpack uucp nncp procmail maildrop dovecot-core dovecot-pop3d dovecot-lmtpd openssl m4 iproute2 \
	systemd fail2ban logwatch zsh fish libmail-deliverystatus-bounceparser-perl gcc libc6-dev
# Packages that a test installs into a Debian host of its own, a copy-on-write view of this one, beside Waybill's.
export HOST_PACKAGES := cron bsd-mailx s-nail mutt git-email php-cli python3 at
# Other mail servers are unpacked, not installed: two of them cannot be installed beside each other, nor beside the host's own.
export PEERS := $(CURDIR)/run/peers
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# cgo would cost the front end most of its start-up time, and is never needed.
export CGO_ENABLED = 0

.PHONY: all build try test check peers unit bench bench-rules bench-bt convert fuzz fuzz-rules soak install uninstall deb clean help

all: build

build: ## build the commands into bin/
	$(GO) build -trimpath -o $(BIN)/ $(COMMANDS:%=./cmd/%)

try: build ## see real mail flow on a throw-away site
	@$(GO) run ./cmd/internal/try $(BIN)

test: peers check unit ## every test: vet, staticcheck, unit, golden, script, fuzz seeds, peers

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) -checks inherit,-ST1005 ./... # texts that are sendmail's begin as sendmail's do

# The race detector needs cgo for the test binaries, and for them only: the commands that the tests run are built without it.
unit: build
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 14m ./...

peers: ## install the Debian packages that the tests talk to, and unpack other mail servers into run/peers
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then etc/packaging/test-peers.sh "$(PEERS)" $(PACKAGES); fi

convert: build ## test the conversion of your own files: make convert FILES=DIRECTORY, or FILE.cf:FILE.mc
	CONVERT="$(abspath $(FILES))" $(GO) test -count 1 -run 'Converted|NothingIsLost|Fold' ./cmd/internal/app ./compat/convert

bench: build ## print the figures, as ratios to peers where they are installed
	$(GO) run ./cmd/internal/bench $(BIN)
	$(MAKE) bench-rules
	$(MAKE) bench-bt

# The output is that of testing.B: benchstat compares two of them.
COUNT ?= 5
bench-rules: ## print the figures of the rule engine: decisions, loading, tables and classes of a million entries
	$(GO) test -run '^$$' -bench 'DefaultRules|LargeRules|Load$$|LoadMixed|Million|LookupSize' -count $(COUNT) -timeout 30m ./rules

bench-bt: ## print how fast sendmail -bt is beside the real one, which make peers unpacks: lines, loading, the engine alone
	$(GO) test -run '^$$' -bench BesideSendmail -benchtime 1x -timeout 30m ./compat/testmode

# DESTDIR and PREFIX as everywhere. Without DESTDIR, as root, the user and the spool are made, too.
install: ## install what "make build" made: the commands under all their names, manual pages, units
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BIN="$(BIN)" etc/packaging/install.sh install

uninstall: ## take it away; mail in the spool and configuration stay
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" BIN="$(BIN)" etc/packaging/install.sh uninstall

deb: build ## make bin/waybill.deb, a Debian package that replaces the host's mail-transport-agent
	@BIN="$(BIN)" etc/packaging/deb.sh "$(BIN)/waybill.deb"

FUZZTIME ?= 60s
FUZZ ?= ./...
fuzz-rules: ## run the fuzz targets of the rule language and its engine for FUZZTIME each: make fuzz-rules FUZZTIME=10m
	@$(MAKE) fuzz FUZZ=./rules/...

fuzz: ## run every fuzz target of the packages FUZZ (all) for FUZZTIME
	@for pkg in $$($(GO) list $(FUZZ)); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

clean: ## remove what was built
	rm -rf $(BIN)

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'
