// Package export_conveyor_stage_about says what the stage is.
package export_conveyor_stage_about

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/conveyor_stage_about"
)

func Describe() conveyor_stage_about.About {
	return conveyor_stage_about.About{
		Name:    "contract-table",
		Version: "0.1.0",
		Summary: "Keeps rows by their amount and names their region",
		ConfigSchema: `{"type":"object","required":["minimum"],` +
			`"properties":{"minimum":{"type":"number"}},"additionalProperties":false}`,
		Hints: []wit.Tuple2[string, string]{{F0: "language", F1: "go"}},
	}
}
