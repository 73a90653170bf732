// Package export_conveyor_stage_transform is the proof of the contract, the stage of bytes. What it does
// stands in guests/contract/README.md.
package export_conveyor_stage_transform

import (
	"bytes"
	"encoding/json"
	"fmt"

	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/conveyor_stage_columns"
	"wit_component/conveyor_stage_log"
	"wit_component/conveyor_stage_outcomes"
	"wit_component/conveyor_stage_records"
	"wit_component/conveyor_stage_transform"
)

type (
	blobs    = conveyor_stage_columns.BlobColumn
	emission = conveyor_stage_outcomes.Emission
	failure  = conveyor_stage_outcomes.Failure
	outcome  = conveyor_stage_outcomes.Outcome
	plan     = conveyor_stage_transform.RecordPlan
)

type config struct {
	keep, separator byte
	busy            *byte
}

var opened *config

func Plan(text string) wit.Result[plan, failure] {
	if _, err := parse(text); err != "" {
		return wit.Err[plan](conveyor_stage_outcomes.MakeFailureInvalid(err))
	}
	return wit.Ok[plan, failure](plan{Times: true, Keys: true, Headers: true, Outputs: []string{"main", "deleted"}})
}

func Open(text string) wit.Result[wit.Unit, failure] {
	parsed, err := parse(text)
	if err != "" {
		return wit.Err[wit.Unit](conveyor_stage_outcomes.MakeFailureInvalid(err))
	}
	opened = parsed
	fields := []wit.Tuple2[string, string]{{F0: "keep", F1: string(rune(parsed.keep))}}
	conveyor_stage_log.Write(conveyor_stage_log.Level_Info, "ready", fields)
	return wit.Ok[wit.Unit, failure](wit.Unit{})
}

func Process(input conveyor_stage_records.Batch) wit.Result[outcome, failure] {
	if opened == nil {
		return wit.Err[outcome](conveyor_stage_outcomes.MakeFailureFatal("process was called before open"))
	}
	dropped := dropped(input.Headers)
	var main, deleted []uint32
	var made made
	var out outcome
	for i := range input.Rows {
		if dropped[i] {
			continue
		}
		value, isThere := get(input.Values, i)
		switch {
		case !isThere:
			deleted = append(deleted, i)
		case len(value) == 0:
			out.Rejections = append(out.Rejections, conveyor_stage_outcomes.Rejection{
				Of: i, Code: "empty", Message: "the value has no bytes",
			})
		case opened.busy != nil && value[0] == *opened.busy:
			return wit.Err[outcome](conveyor_stage_outcomes.MakeFailureRetry(conveyor_stage_outcomes.Retry{
				AfterMs: 250, Message: fmt.Sprintf("record %d asks for another try", i),
			}))
		case value[0] != opened.keep:
		default:
			left, right, isSplit := bytes.Cut(value, []byte{opened.separator})
			if isSplit {
				made.split(input, i, left, right)
			} else {
				main = append(main, i)
			}
		}
	}
	out.Emissions = []emission{{Port: 0, Forwarded: forwarded(input.Rows, main), Made: made.finish()}}
	if len(deleted) > 0 {
		out.Emissions = append(out.Emissions, emission{Port: 1, Forwarded: forwarded(input.Rows, deleted)})
	}
	return wit.Ok[outcome, failure](out)
}

// parse says what is wrong, or nothing.
func parse(text string) (*config, string) {
	var members map[string]any
	if json.Unmarshal([]byte(text), &members) != nil || members == nil {
		return nil, "config: a JSON object is wanted"
	}
	parsed := config{separator: '|'}
	var busy byte
	targets := []struct {
		name string
		to   *byte
	}{{"keep", &parsed.keep}, {"separator", &parsed.separator}, {"busy", &busy}}
	for _, target := range targets {
		member, isThere := members[target.name]
		if !isThere && target.name != "keep" {
			continue
		}
		text, isText := member.(string)
		if !isText || len(text) != 1 {
			return nil, "config." + target.name + ": a text of one ASCII character is wanted"
		}
		*target.to = text[0]
		if target.name == "busy" {
			parsed.busy = &busy
		}
	}
	return &parsed, ""
}

// column is a blob column that grows.
type column struct {
	rows int
	bits []byte
	blobs
}

func (c *column) push(isThere bool, parts ...[]byte) {
	if c.rows == 0 {
		c.Blobs.Offsets = append(c.Blobs.Offsets, 0)
	}
	if c.rows%8 == 0 {
		c.bits = append(c.bits, 0)
	}
	if isThere {
		c.bits[c.rows/8] |= 1 << (c.rows % 8)
		for _, part := range parts {
			c.Blobs.Bytes = append(c.Blobs.Bytes, part...)
		}
	}
	c.Blobs.Offsets = append(c.Blobs.Offsets, uint32(len(c.Blobs.Bytes)))
	c.rows++
}

func (c *column) finish() blobs {
	c.Valid = wit.Some(c.bits)
	return c.blobs
}

// made is the records that are made, in the form in which they leave.
type made struct {
	origins      []uint32
	times        []int64
	keys, values column
}

func (m *made) split(input conveyor_stage_records.Batch, i uint32, left, right []byte) {
	m.origins = append(m.origins, i, i)
	m.values.push(true, left)
	m.values.push(true, right)
	if input.Times.IsSome() {
		time := input.Times.Some()[i]
		m.times = append(m.times, time, time+1)
	}
	if input.Keys.IsSome() {
		key, isThere := get(input.Keys.Some(), i)
		m.keys.push(isThere, key)
		m.keys.push(isThere, key, []byte("/2"))
	}
}

func (m *made) finish() wit.Option[conveyor_stage_outcomes.MadeRecords] {
	if len(m.origins) == 0 {
		return wit.None[conveyor_stage_outcomes.MadeRecords]()
	}
	records := conveyor_stage_outcomes.MadeRecords{
		Origins: conveyor_stage_outcomes.MakeOriginsThese(m.origins),
		Values:  m.values.finish(),
	}
	if len(m.times) > 0 {
		records.Times = wit.Some(m.times)
	}
	if m.keys.rows > 0 {
		records.Keys = wit.Some(m.keys.finish())
	}
	headers := conveyor_stage_records.Headers{Names: []string{"part"}, Name: make([]uint16, len(m.origins))}
	headers.Values.Offsets = []uint32{0}
	for i := range m.origins {
		headers.Of = append(headers.Of, uint32(i))
		headers.Values.Bytes = append(headers.Values.Bytes, "12"[i%2])
		headers.Values.Offsets = append(headers.Values.Offsets, uint32(i+1))
	}
	records.Headers = wit.Some(headers)
	return wit.Some(records)
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

// dropped is the records that carry a header named `drop`.
func dropped(part wit.Option[conveyor_stage_records.Headers]) map[uint32]bool {
	found := map[uint32]bool{}
	headers := part.SomeOr(conveyor_stage_records.Headers{})
	for i, of := range headers.Of {
		if headers.Names[headers.Name[i]] == "drop" {
			found[of] = true
		}
	}
	return found
}

func get(column blobs, i uint32) ([]byte, bool) {
	if column.Valid.IsSome() && column.Valid.Some()[i/8]>>(i%8)&1 == 0 {
		return nil, false
	}
	return column.Blobs.Bytes[column.Blobs.Offsets[i]:column.Blobs.Offsets[i+1]], true
}
