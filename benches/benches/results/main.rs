//! Everything that is promised, beside its floor: `cargo bench -p benches --bench results [-- --json FILE]`.
//! `cargo xtask bench` makes tables and plots of it.

#[cfg(unix)]
mod rows;
#[cfg(unix)]
mod scaling;

#[cfg(unix)]
fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--json").skip(1);
    let path = arguments.next().map(std::path::PathBuf::from);
    let mut report = benches::report::Report::new(path.as_deref());
    println!("median of {} rounds, minimum and maximum in brackets", benches::report::ROUNDS);
    rows::receive(&mut report);
    rows::publish(&mut report);
    rows::queue(&mut report);
    rows::round_trips(&mut report);
    rows::connections(&mut report);
    scaling::all(&mut report);
}

#[cfg(not(unix))]
fn main() {}
