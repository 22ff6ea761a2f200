//! What the results were measured on, and with.

use std::fs;
use std::thread::available_parallelism;

use super::measured::Machine;
use super::output;

/// This machine, and today.
pub(super) fn this() -> Result<Machine, String> {
    let cpus = available_parallelism().map_err(|error| format!("the number of CPUs: {error}"))?;
    Ok(Machine {
        cpus: cpus.get(),
        model: model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        rustc: output("rustc", &["-V"])?.trim().to_owned(),
        kernel: output("uname", &["-r"])?.trim().to_owned(),
        date: output("date", &["-u", "+%F"])?.trim().to_owned(),
    })
}

/// The name of the processor. Not every system tells it.
fn model(cpuinfo: &str) -> String {
    let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut models = lines.filter(|(key, _)| key.trim() == "model name").map(|(_, model)| model.trim());
    models.next().unwrap_or(std::env::consts::ARCH).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_that_of_the_first_processor_or_the_architecture() {
        let two = "processor\t: 0\nmodel name\t: Fast: 3 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n";
        assert_eq!(model(two), "Fast: 3 GHz");
        assert_eq!(model("processor\t: 0\n"), std::env::consts::ARCH);
    }
}
