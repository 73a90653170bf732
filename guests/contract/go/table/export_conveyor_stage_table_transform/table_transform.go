// Package export_conveyor_stage_table_transform is the proof of the contract, the stage of tables. What it
// does stands in guests/contract/README.md.
package export_conveyor_stage_table_transform

import (
	"bytes"
	"encoding/json"
	"strconv"

	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/conveyor_stage_columns"
	"wit_component/conveyor_stage_log"
	"wit_component/conveyor_stage_outcomes"
	"wit_component/conveyor_stage_table_transform"
	"wit_component/conveyor_stage_tables"
)

type (
	column    = conveyor_stage_columns.Column
	emission  = conveyor_stage_outcomes.TableEmission
	failure   = conveyor_stage_outcomes.Failure
	field     = conveyor_stage_columns.Field
	outcome   = conveyor_stage_outcomes.TableOutcome
	output    = conveyor_stage_table_transform.Output
	plan      = conveyor_stage_table_transform.TablePlan
	selection = conveyor_stage_table_transform.Selection
)

var minimum *float64

func Plan(config string, input []field) wit.Result[plan, failure] {
	_, amount, err := check(config, input)
	if err != "" {
		return wit.Err[plan](conveyor_stage_outcomes.MakeFailureInvalid(err))
	}
	return wit.Ok[plan, failure](plan{
		Wanted: []field{
			{Name: "amount", Kind: conveyor_stage_columns.Kind_F64s, Nullable: amount.Nullable},
			{Name: "country", Kind: conveyor_stage_columns.Kind_Texts, Nullable: true},
		},
		Times: true,
		Outputs: []output{
			{Name: "large", Set: []field{{Name: "region", Kind: conveyor_stage_columns.Kind_Texts}}},
			{
				Name: "small",
				Select: wit.Some([]selection{
					{Name: "amount", Column: "amount"}, {Name: "land", Column: "country"},
				}),
			},
		},
	})
}

func Open(config string, input []field) wit.Result[wit.Unit, failure] {
	parsed, _, err := check(config, input)
	if err != "" {
		return wit.Err[wit.Unit](conveyor_stage_outcomes.MakeFailureInvalid(err))
	}
	minimum = &parsed
	fields := []wit.Tuple2[string, string]{{F0: "columns", F1: strconv.Itoa(len(input))}}
	conveyor_stage_log.Write(conveyor_stage_log.Level_Info, "ready", fields)
	return wit.Ok[wit.Unit, failure](wit.Unit{})
}

func Process(input conveyor_stage_tables.Table) wit.Result[outcome, failure] {
	if minimum == nil {
		return wit.Err[outcome](conveyor_stage_outcomes.MakeFailureFatal("process was called before open"))
	}
	amounts, amountsValid := input.Columns[0].Data.F64s(), input.Columns[0].Valid
	large := large{input: input}
	var small []uint32
	var out outcome
	for i := range input.Rows {
		switch {
		case !isValid(amountsValid, i):
			out.Rejections = append(out.Rejections, conveyor_stage_outcomes.Rejection{
				Of: i, Code: "no-amount", Message: "amount is null",
			})
		case amounts[i] < 0:
			out.Rejections = append(out.Rejections, conveyor_stage_outcomes.Rejection{
				Of: i, Code: "negative-amount", Message: "amount is negative",
			})
		case amounts[i] >= *minimum:
			large.keep(i)
		default:
			small = append(small, i)
		}
	}
	out.Emissions = []emission{large.finish()}
	if len(small) > 0 {
		out.Emissions = append(out.Emissions, emission{Port: 1, Forwarded: forwarded(input.Rows, small)})
	}
	return wit.Ok[outcome, failure](out)
}

// check answers with the minimum, the field of the amounts, and what is wrong, or nothing.
func check(config string, input []field) (float64, field, string) {
	var members map[string]any
	if json.Unmarshal([]byte(config), &members) != nil || members == nil {
		return 0, field{}, "config: a JSON object is wanted"
	}
	minimum, isNumber := members["minimum"].(float64)
	if !isNumber {
		return 0, field{}, "config.minimum: a number is wanted"
	}
	byName := map[string]field{}
	for _, field := range input {
		byName[field.Name] = field
	}
	for _, name := range []string{"amount", "country"} {
		if _, isThere := byName[name]; !isThere {
			return 0, field{}, "input: there is no column " + name
		}
	}
	switch byName["amount"].Kind {
	case conveyor_stage_columns.Kind_S32s, conveyor_stage_columns.Kind_S64s, conveyor_stage_columns.Kind_U64s,
		conveyor_stage_columns.Kind_F32s, conveyor_stage_columns.Kind_F64s, conveyor_stage_columns.Kind_Opaque:
	default:
		return 0, field{}, "input.amount: a number is wanted"
	}
	switch byName["country"].Kind {
	case conveyor_stage_columns.Kind_Texts, conveyor_stage_columns.Kind_Dictionaries:
	default:
		return 0, field{}, "input.country: a text is wanted"
	}
	return minimum, byName["amount"], ""
}

// texts is a column of texts that grows.
type texts conveyor_stage_columns.Varlen

func (t *texts) push(text []byte) {
	if len(t.Offsets) == 0 {
		t.Offsets = append(t.Offsets, 0)
	}
	t.Bytes = append(t.Bytes, text...)
	t.Offsets = append(t.Offsets, uint32(len(t.Bytes)))
}

func (t *texts) column() column {
	return column{Data: conveyor_stage_columns.MakeDataTexts(conveyor_stage_columns.Varlen(*t))}
}

// large is what leaves by port `large`.
type large struct {
	input                conveyor_stage_tables.Table
	rows, origins        []uint32
	times                []int64
	regions, madeRegions texts
}

func (l *large) keep(i uint32) {
	countries := l.input.Columns[1]
	if !isValid(countries.Valid, i) {
		l.rows = append(l.rows, i)
		l.regions.push([]byte("unknown"))
		return
	}
	varlen := countries.Data.Texts()
	country := varlen.Bytes[varlen.Offsets[i]:varlen.Offsets[i+1]]
	if !bytes.Contains(country, []byte("+")) {
		l.rows = append(l.rows, i)
		l.regions.push(upper(country))
		return
	}
	for part, text := range bytes.Split(country, []byte("+")) {
		l.origins = append(l.origins, i)
		l.madeRegions.push(upper(text))
		if l.input.Times.IsSome() {
			l.times = append(l.times, l.input.Times.Some()[i]+int64(part))
		}
	}
}

func (l *large) finish() emission {
	out := emission{
		Port:      0,
		Forwarded: forwarded(l.input.Rows, l.rows),
		Set:       []column{l.regions.column()},
	}
	if len(l.origins) == 0 {
		return out
	}
	made := conveyor_stage_outcomes.MadeRows{
		Origins: conveyor_stage_outcomes.MakeOriginsThese(l.origins),
		Set:     []column{l.madeRegions.column()},
	}
	if len(l.times) > 0 {
		made.Times = wit.Some(l.times)
	}
	out.Made = wit.Some(made)
	return out
}

func forwarded(rows uint32, these []uint32) conveyor_stage_outcomes.Forwarded {
	switch uint32(len(these)) {
	case 0:
		return conveyor_stage_outcomes.MakeForwardedNothing()
	case rows:
		return conveyor_stage_outcomes.MakeForwardedAll()
	default:
		return conveyor_stage_outcomes.MakeForwardedThese(these)
	}
}

// upper changes a-z alone: bytes.ToUpper would change other letters too.
func upper(text []byte) []byte {
	out := bytes.Clone(text)
	for i, c := range out {
		if 'a' <= c && c <= 'z' {
			out[i] = c - 32
		}
	}
	return out
}

func isValid(bitmap wit.Option[[]byte], i uint32) bool {
	return bitmap.IsNone() || bitmap.Some()[i/8]>>(i%8)&1 == 1
}
