//! The fuzz targets on stable: the committed corpus, then mutations of it.
//!
//! Every run tries the same inputs. What fails prints a seed; with it, the one input is tried
//! again, and longer runs go on from any seed:
//!
//! ```text
//! AMPS_FUZZ_SEED=1234 cargo test -p amps-protocol --test fuzz_corpus header
//! AMPS_FUZZ_SEED=1 AMPS_FUZZ_INPUTS=1000000 cargo test --release -p amps-protocol --test fuzz_corpus
//! ```

#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::path::Path;

/// Mutated inputs per target in an ordinary run.
const INPUTS: u64 = 10_000;

/// No input grows beyond this.
const MAX_INPUT: usize = 4096;

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name), targets::$name); })*
    };
}

targets! { frame header sow_batch command composite fix connection_string bookmark options ids value }

fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 8, "{name}: only {} seeds", corpus.len());
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, count) = match (number("AMPS_FUZZ_SEED"), number("AMPS_FUZZ_INPUTS")) {
        (Some(seed), count) => (seed, count.unwrap_or(1)),
        (None, count) => (1, count.unwrap_or(INPUTS)),
    };
    for (file, input) in &corpus {
        let _on_failure = Report(|| eprintln!("{name}: the seed {file} fails"));
        target(input);
    }
    for seed in first..first + count {
        let input = mutated(&corpus, seed);
        let _on_failure = Report(|| {
            eprintln!("{name}: fails with AMPS_FUZZ_SEED={seed}: \"{}\"", input.escape_ascii());
        });
        target(&input);
    }
}

/// Says something if the test fails while it is alive.
struct Report<F: Fn()>(F);

impl<F: Fn()> Drop for Report<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            (self.0)();
        }
    }
}

/// The committed inputs of a target, in the order of their names.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut corpus: Vec<_> = files
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())
        })
        .collect();
    corpus.sort();
    corpus
}

/// One input of the corpus, changed in one to four ways. The seed alone decides how.
fn mutated(corpus: &[(String, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut input = random.pick(corpus).1.clone();
    for _ in 0..=random.below(4) {
        mutate(&mut input, corpus, &mut random);
        input.truncate(MAX_INPUT);
    }
    input
}

/// Bytes that mean something to one of the grammars.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"=",
    b"|",
    b"\x01",
    b"&",
    b"@",
    b"%",
    b"?",
    b"/",
    b" ",
    b"\n",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\\\"",
    b"null",
    b"true",
    b"\"l\":",
    b"\"t\":\"",
    b"{}",
    b"0|1|",
    b"://",
    b"amps",
];

const NUMBERS: &[u64] = &[
    0,
    1,
    4,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX - 1,
    u64::MAX,
];

fn mutate(input: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = at + random.below((input.len() - at).min(16) + 1);
    match random.below(10) {
        // Flip a bit.
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        // Another byte.
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.next() as u8;
            }
        }
        // Insert something that means something.
        2 | 3 => drop(input.splice(at..at, random.pick(TOKENS).iter().copied())),
        // Insert anything.
        4 => {
            let noise: Vec<u8> = (0..=random.below(4)).map(|_| random.next() as u8).collect();
            input.splice(at..at, noise);
        }
        // Delete.
        5 => drop(input.drain(at..end)),
        // Repeat.
        6 => {
            let piece = input[at..end].repeat(1 + random.below(20));
            input.splice(at..at, piece);
        }
        // Cut off.
        7 => input.truncate(at),
        // Go on as another input of the corpus does.
        8 => {
            let other = &random.pick(corpus).1;
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        // A number where there is one, in digits or in four bytes.
        _ => {
            let number = *random.pick(NUMBERS);
            let digits = input.iter().skip(at).position(u8::is_ascii_digit).map(|skip| at + skip);
            match digits {
                Some(start) if random.below(2) == 0 => {
                    let behind = input[start..].iter().position(|byte| !byte.is_ascii_digit());
                    let end = behind.map_or(input.len(), |length| start + length);
                    input.splice(start..end, number.to_string().into_bytes());
                }
                _ => {
                    let end = input.len().min(at + 4);
                    input.splice(at..end, (number as u32).to_be_bytes());
                }
            }
        }
    }
}

/// Xorshift: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Neighbouring seeds must not give neighbouring inputs, and 0 would stay 0.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 up to `end`, which is left out.
    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 16) % end as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
