//! Sums that forget no digit, so that what was added can be taken away again.
//!
//! Owns the sum of the numbers of a group. The order in which numbers came does not matter, and a
//! number that is taken away leaves nothing behind: the sum of those that are left is the same as
//! if it had never been there. It is rounded once, when it is read.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::value::{Number, Value};

/// Bits of a limb of a long number.
const LIMB: u32 = 32;

/// The exponent of the lowest bit that a float can have.
const LOWEST: i32 = -1074;

/// Bits of a float's fraction.
const FRACTION: u32 = 52;

/// The limbs that hold any sum of floats: from the lowest bit to the highest, and room above.
const LIMBS: usize = 72;

/// A sum of integers and floats.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    integers: i128,
    /// How many of the numbers are floats: with one, the sum is a float.
    floats: u32,
    /// The sums of the fractions of finite floats, by exponent.
    fractions: BTreeMap<i32, i128>,
    nans: u32,
    infinities: u32,
    negative_infinities: u32,
}

impl ExactSum {
    pub(super) fn add(&mut self, number: Number) {
        self.change(number, 1);
    }

    /// Takes a number away that was added.
    pub(super) fn remove(&mut self, number: Number) {
        self.change(number, -1);
    }

    fn change(&mut self, number: Number, sign: i8) {
        let count = |count: &mut u32| *count = count.saturating_add_signed(i32::from(sign));
        let float = match number {
            Number::Integer(integer) => {
                // Numbers of messages have 64 bits, so it takes 2^63 of them to overflow.
                self.integers = self.integers.saturating_add(integer.saturating_mul(i128::from(sign)));
                return;
            }
            Number::Float(float) => float,
        };
        count(&mut self.floats);
        if float.is_nan() {
            return count(&mut self.nans);
        }
        if float.is_infinite() {
            let counted = if float > 0.0 { &mut self.infinities } else { &mut self.negative_infinities };
            return count(counted);
        }
        let (fraction, exponent) = parts(float);
        if fraction == 0 {
            return;
        }
        let sum = self.fractions.entry(exponent).or_default();
        *sum = sum.saturating_add(fraction * i128::from(sign));
        if *sum == 0 {
            self.fractions.remove(&exponent);
        }
    }

    /// The sum, rounded to the nearest float if there is a float in it.
    pub(super) fn value(&self) -> Value<'static> {
        match self.floats {
            0 => Number::Integer(self.integers).into(),
            _ => Value::Float(self.float()),
        }
    }

    /// The sum as a float.
    pub(super) fn float(&self) -> f64 {
        match (self.nans, self.infinities, self.negative_infinities) {
            (0, 0, 0) => {
                let mut long = Long::default();
                long.add(self.integers, 0);
                self.fractions.iter().for_each(|(exponent, fraction)| long.add(*fraction, *exponent));
                long.rounded()
            }
            (0, _, 0) => f64::INFINITY,
            (0, 0, _) => f64::NEG_INFINITY,
            _ => f64::NAN,
        }
    }
}

/// A finite float is its fraction times two to the power of its exponent.
fn parts(float: f64) -> (i128, i32) {
    let bits = float.to_bits();
    let fraction = i128::from(bits & ((1 << FRACTION) - 1));
    let exponent = i32::try_from((bits >> FRACTION) & 0x7ff).unwrap_or(0);
    let (fraction, exponent) = match exponent {
        0 => (fraction, LOWEST),
        _ => (fraction | (1 << FRACTION), exponent - 1 + LOWEST),
    };
    (if float.is_sign_negative() { -fraction } else { fraction }, exponent)
}

/// A long number in units of the lowest bit of a float; the lowest limb comes first.
struct Long([i64; LIMBS]);

impl Default for Long {
    fn default() -> Self {
        Self([0; LIMBS])
    }
}

impl Long {
    /// Adds a number times two to the power of an exponent.
    fn add(&mut self, number: i128, exponent: i32) {
        let shift = u32::try_from(exponent - LOWEST).unwrap_or(0);
        let first = usize::try_from(shift / LIMB).unwrap_or(0);
        let sign = if number < 0 { -1 } else { 1 };
        let mut rest = number.unsigned_abs();
        for limb in first.. {
            if rest == 0 {
                return;
            }
            let piece = (rest & u128::from(u32::MAX)) << (shift % LIMB);
            for (limb, half) in [(limb, piece & u128::from(u32::MAX)), (limb + 1, piece >> LIMB)] {
                if let Some(limb) = self.0.get_mut(limb) {
                    *limb += sign * i64::try_from(half).unwrap_or(0);
                }
            }
            rest >>= LIMB;
        }
    }

    /// Brings every limb between 0 and 2^32, and returns whether the number is negative.
    fn settle(&mut self) -> bool {
        let carry = |limbs: &mut [i64; LIMBS]| {
            let mut carry = 0;
            for limb in limbs.iter_mut() {
                let whole = *limb + carry;
                carry = whole >> LIMB;
                *limb = whole & i64::from(u32::MAX);
            }
            carry
        };
        if carry(&mut self.0) >= 0 {
            return false;
        }
        // What was carried out of the top is the sign: the complement is the magnitude.
        self.0.iter_mut().for_each(|limb| *limb = -*limb);
        carry(&mut self.0);
        true
    }

    /// The nearest float; of two that are equally near, the even one.
    fn rounded(mut self) -> f64 {
        let negative = self.settle();
        let Some(top) = self.0.iter().rposition(|limb| *limb != 0) else { return 0.0 };
        let limb = |index: usize| self.0.get(index).map_or(0, |limb| u128::try_from(*limb).unwrap_or(0));
        // The three highest limbs have at least 65 bits; the lowest of those stands for all below.
        let low = top.saturating_sub(2);
        let window = (low..=top).rev().fold(0, |window: u128, index| (window << LIMB) | limb(index));
        let sticky = self.0.iter().take(low).any(|limb| *limb != 0);
        let magnitude = scaled(window | u128::from(sticky), i32::try_from(low).unwrap_or(0) * 32 + LOWEST);
        if negative { -magnitude } else { magnitude }
    }
}

/// A number times two to the power of an exponent. The first conversion rounds, and nothing after
/// it: what is below the lowest bit of a float does not exist here.
#[expect(clippy::cast_precision_loss, reason = "this is where the sum is rounded")]
fn scaled(number: u128, exponent: i32) -> f64 {
    let power = |exponent: i32| {
        let biased = u64::try_from(exponent + 1023).unwrap_or(0);
        f64::from_bits(biased << FRACTION)
    };
    let half = exponent / 2;
    number as f64 * power(half) * power(exponent - half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(floats: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        floats.iter().for_each(|float| sum.add(Number::Float(*float)));
        sum.float()
    }

    #[test]
    fn a_sum_is_rounded_once() {
        assert_eq!(sum(&[0.1, 0.2, 0.3]), 0.6);
        assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
        assert_eq!(sum(&[1e308, 1e308, -1e308]), 1e308);
        assert_eq!(sum(&[1e308, 1e308]), f64::INFINITY);
        assert_eq!(sum(&[f64::from_bits(3), -f64::from_bits(1)]), f64::from_bits(2));
        assert_eq!(sum(&[f64::MAX, f64::from_bits(1), -f64::MAX]), f64::from_bits(1));
        assert_eq!(sum(&[-0.5, 0.25]), -0.25);
        // Halfway between two floats: to the even one, and up with the least bit more.
        assert_eq!(sum(&[9_007_199_254_740_992.0, 1.0]), 9_007_199_254_740_992.0);
        assert_eq!(sum(&[9_007_199_254_740_992.0, 1.0, 1e-300]), 9_007_199_254_740_994.0);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
        assert_eq!(sum(&[f64::NEG_INFINITY, 1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn integers_stay_integers_until_a_float_comes_and_again_when_it_has_gone() {
        let mut sum = ExactSum::default();
        sum.add(Number::Integer(i128::from(u64::MAX)));
        sum.add(Number::Float(0.5));
        sum.add(Number::Integer(-1));
        assert!(matches!(sum.value(), Value::Float(_)));
        sum.remove(Number::Float(0.5));
        assert_eq!(sum.value(), Value::UInt(u64::MAX - 1));
        sum.add(Number::Float(f64::NAN));
        assert!(sum.float().is_nan());
        sum.remove(Number::Float(f64::NAN));
        assert_eq!(sum.value(), Value::UInt(u64::MAX - 1));
    }

    fn float() -> impl Strategy<Value = f64> {
        prop_oneof![
            -1e3..1e3,
            any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |float| float.is_finite()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_taken_away_was_never_there(kept in prop::collection::vec(float(), 0..8), gone in prop::collection::vec(float(), 0..8)) {
            let mut both = ExactSum::default();
            gone.iter().chain(&kept).for_each(|float| both.add(Number::Float(*float)));
            gone.iter().rev().for_each(|float| both.remove(Number::Float(*float)));
            prop_assert_eq!(both.float().to_bits(), sum(&kept).to_bits());
        }

        #[test]
        fn two_floats_add_up_as_the_machine_adds_them(a in float(), b in float()) {
            prop_assert_eq!(sum(&[a, b]), a + b);
            prop_assert_eq!(sum(&[a]), a);
        }
    }
}
