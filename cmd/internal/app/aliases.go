package app

import (
	"strings"

	"waybill/compat/cf"
)

// aliasPaths are the text files that a configuration has for aliases.
func aliasPaths(config string, given ...overrides) ([]string, error) {
	if !isCF(config) {
		router, err := openRules(config)
		if err != nil {
			return nil, err
		}
		return router.TableFiles(router.Settings().Aliases), nil
	}
	conf, err := readCF(config, cf.Options{Host: cf.LocalHost("/etc/hosts")})
	if err != nil {
		return nil, err
	}
	give(conf, given)
	return aliasFilesOf(conf), nil
}

// aliasFilesOf are the text files of the option AliasFile.
func aliasFilesOf(conf *cf.Config) (files []string) {
	for _, source := range conf.AliasSources() {
		if n := len(source.Args); n > 0 && source.Class != "ldap" && strings.HasPrefix(source.Args[n-1], "/") { // flags may stand before the file
			files = append(files, source.Args[n-1])
		}
	}
	return files
}
