package app

// Dates of HTTP in their three forms, RFC 9110 section 5.6.7. http.ParseTime is laxer: it takes
// fractions of a second, any zone, and months in lower case.

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

var dateForms = [...]*regexp.Regexp{
	regexp.MustCompile(`^[A-Z][a-z]{2}, (?P<day>\d{2}) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) ` + clock + ` GMT$`),
	regexp.MustCompile(`^[A-Z][a-z]{5,8}, (?P<day>\d{2})-(?P<month>[A-Z][a-z]{2})-(?P<year>\d{2}) ` + clock + ` GMT$`),
	regexp.MustCompile(`^[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) (?P<day>[ \d]\d) ` + clock + ` (?P<year>\d{4})$`),
}

const (
	clock  = `(?P<hour>\d{2}):(?P<minute>\d{2}):(?P<second>\d{2})`
	months = "JanFebMarAprMayJunJulAugSepOctNovDec"
)

// parseDate returns the seconds since 1970 of an HTTP date, and whether it is one.
func parseDate(text string) (int64, bool) {
	for _, form := range dateForms {
		if match := form.FindStringSubmatch(text); match != nil {
			part := func(name string) string { return match[form.SubexpIndex(name)] }
			return moment(part)
		}
	}
	return 0, false
}

func moment(part func(name string) string) (int64, bool) {
	place := strings.Index(months, part("month"))
	if place%3 != 0 {
		return 0, false // not a month name, or parts of two
	}
	year, day := whole(fullYear(part("year"))), whole(part("day"))
	hour, minute, second := whole(part("hour")), whole(part("minute")), whole(part("second"))
	midnight := time.Date(year, time.Month(place/3+1), day, 0, 0, 0, 0, time.UTC)
	// time.Date makes the 31st of November the 1st of December.
	if midnight.Day() != day || hour > 23 || minute > 59 || second > 60 || year < 1970 {
		return 0, false
	}
	return midnight.Unix() + int64(hour*3600+minute*60+second), true
}

// fullYear adds the century to a two-digit year (RFC 850).
func fullYear(digits string) string {
	switch {
	case len(digits) == 4:
		return digits
	case digits >= "70":
		return "19" + digits
	}
	return "20" + digits
}

// whole parses digits that a pattern has matched; a day may start with a space.
func whole(digits string) int {
	value, _ := strconv.Atoi(strings.TrimSpace(digits))
	return value
}
