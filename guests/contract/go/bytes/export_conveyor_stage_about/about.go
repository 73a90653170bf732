// Package export_conveyor_stage_about says what the stage is.
package export_conveyor_stage_about

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/conveyor_stage_about"
)

func Describe() conveyor_stage_about.About {
	return conveyor_stage_about.About{
		Name:    "contract-bytes",
		Version: "0.1.0",
		Summary: "Keeps records by their first byte and splits them at a separator",
		ConfigSchema: `{"type":"object","required":["keep"],"properties":{"keep":{"type":"string"},` +
			`"separator":{"type":"string"},"busy":{"type":"string"}},"additionalProperties":false}`,
		Hints: []wit.Tuple2[string, string]{{F0: "language", F1: "go"}},
	}
}
