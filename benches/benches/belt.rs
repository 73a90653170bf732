use std::time::Instant;
fn main() {
    let batches = benches::workload::batches();
    let mut native = benches::native::Native::default();
    for _ in 0..5 {
        let t = Instant::now();
        let mut n = 0;
        let mut kept = 0;
        while t.elapsed().as_millis() < 300 {
            for b in &batches { kept += native.run(b); n += b.len(); }
        }
        println!("{:.1} M/s kept {}", n as f64 / t.elapsed().as_secs_f64() / 1e6, kept as f64 / n as f64);
    }
}
use arrow::array::Array;
