//! Numbers, for people.

/// A number with a comma every three digits: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_three_digits() {
        let numbers = [0, 999, 1000, 12_345, 123_456, 1_234_567, u64::MAX];
        assert_eq!(
            numbers.map(thousands),
            ["0", "999", "1,000", "12,345", "123,456", "1,234,567", "18,446,744,073,709,551,615"]
        );
    }
}
