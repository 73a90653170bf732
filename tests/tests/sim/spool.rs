//! Placeholder until the spool is there.
use super::bad_disk::Fault;
use super::disk::SimDisk;
use super::graph::Origin;
pub fn left(_: &SimDisk, _: &str, _: u8) -> Result<Vec<Origin>, String> {
    Ok(Vec::new())
}
pub struct SimSpool;
type E = String;
impl SimSpool {
    pub fn open(_: &SimDisk, _: Option<Fault>, _: &str, _: u8, _: Option<u64>, _: u64) -> Result<Self, E> {
        Ok(Self)
    }
    pub fn believing() -> Fault {
        Fault::NoChecksum { head: 32 }
    }
    pub fn post(&mut self, _: Vec<Origin>) {}
    pub fn is_writing(&self) -> bool {
        false
    }
    pub fn write(&mut self) -> Result<Vec<Vec<Origin>>, E> {
        Ok(Vec::new())
    }
    pub fn has_waiting(&self) -> bool {
        false
    }
    pub fn sync(&mut self) -> Result<(), E> {
        Ok(())
    }
    pub fn take_written(&mut self) -> Vec<Vec<Origin>> {
        Vec::new()
    }
    pub fn pull(&mut self, _: usize) -> Result<Vec<(u64, Origin)>, E> {
        Ok(Vec::new())
    }
    pub fn is_idle(&self) -> bool {
        true
    }
    pub fn release(&mut self, _: u64) -> Result<(), E> {
        Ok(())
    }
}
