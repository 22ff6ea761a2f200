//! Runs one case of the codec benchmarks so many times: `codec CASE COUNT`. To be run under a
//! tool that counts instructions; `cargo xtask instructions` does.

use std::process::ExitCode;

use benches::codec::CASES;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        for case in CASES {
            println!("{}\t{}", case.name, case.units);
        }
        return ExitCode::SUCCESS;
    };
    let (Some(case), Ok(count)) = (CASES.iter().find(|case| case.name == name), count.parse()) else {
        eprintln!("no case \"{name}\", or \"{count}\" is no number; without arguments all cases are listed");
        return ExitCode::from(2);
    };
    (case.run)(count);
    ExitCode::SUCCESS
}
