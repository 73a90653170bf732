//! What the hostile stages in `examples/` share: the frame of a stage around one act, and ways to files and hosts.

pub mod dir;
pub mod http;

/// Makes a stage of an act: a function from the text of a record to the text that it makes of it.
#[macro_export]
macro_rules! stage {
    ($act:path) => {
        pub struct Hostile;

        impl conveyor_sdk::Transform for Hostile {
            type Config = conveyor_sdk::NoConfig;

            fn open(_: conveyor_sdk::NoConfig) -> conveyor_sdk::Result<Self> {
                Ok(Hostile)
            }

            fn process(
                &mut self,
                batch: &conveyor_sdk::Batch,
                out: &mut conveyor_sdk::Emitter,
            ) -> conveyor_sdk::Result {
                for record in batch {
                    let made: String = $act(&String::from_utf8_lossy(record.bytes()));
                    out.emit(record, made.as_bytes());
                }
                Ok(())
            }
        }

        conveyor_sdk::transform!(Hostile);
    };
}
