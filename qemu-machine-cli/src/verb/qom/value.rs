//! Values of properties, from text by the property's type. Pure.
//!
//! QEMU converts nothing: a number in quotes is refused.

use serde_json::Value;

/// Reads a value for a property of this type.
pub(super) fn read(type_name: &str, text: &str) -> Result<Value, String> {
    let json = || serde_json::from_str::<Value>(text).ok();
    match type_name {
        "bool" => match text {
            "on" | "yes" | "true" => Ok(true.into()),
            "off" | "no" | "false" => Ok(false.into()),
            _ => Err(format!("'{text}' is no bool: on or off is needed")),
        },
        // Numbers are text here. JSON text loses its quotes.
        "string" | "str" => match json() {
            Some(value @ Value::String(_)) => Ok(value),
            _ => Ok(text.into()),
        },
        _ if type_name.starts_with("link<") => Ok(text.into()),
        "int" | "size" | "uint64" | "uint32" | "uint16" | "uint8" | "int64" | "int32" | "int16"
        | "int8" => number(text).ok_or_else(|| {
            format!("'{text}' is no number of type {type_name}, such as 16, 0x10 or 64M")
        }),
        // The name of an alternative, or a structure.
        _ => Ok(json().unwrap_or_else(|| text.into())),
    }
}

/// Reads `16`, `-1`, `0x10` and `64M`; the last is a number of bytes.
fn number(text: &str) -> Option<Value> {
    let units = [("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)];
    let unit = units.iter().find_map(|(unit, shift)| {
        let digits = text.strip_suffix(unit)?;
        let is_decimal = digits.bytes().all(|it| it.is_ascii_digit());
        is_decimal.then_some((digits, *shift))
    });
    let (digits, shift) = unit.unwrap_or((text, 0));
    if let Some(hex) = digits.strip_prefix("0x") {
        let is_hex = hex.bytes().all(|it| it.is_ascii_hexdigit());
        return u64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| is_hex)
            .map(Value::from);
    }
    let unsigned = digits.parse::<u64>().ok();
    let unsigned = unsigned.map(|it| it.checked_mul(1 << shift));
    match unsigned {
        Some(number) => number.map(Value::from),
        None => digits.parse::<i64>().ok().map(Value::from),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_read_by_the_type_of_its_property() {
        let table = [
            ("bool", "on", json!(true)),
            ("bool", "false", json!(false)),
            ("string", "5", json!("5")),
            ("string", "\"a b\"", json!("a b")),
            ("str", "true", json!("true")),
            ("uint32", "0xfF", json!(255)),
            ("int", "-1", json!(-1)),
            ("uint64", "18446744073709551615", json!(u64::MAX)),
            ("size", "64M", json!(67_108_864)),
            ("link<pci-bus>", "/machine/a", json!("/machine/a")),
            ("OnOffAuto", "auto", json!("auto")),
            ("SomeStruct", "{\"a\": 1}", json!({"a": 1})),
            ("struct tm", "", json!("")),
        ];
        for (type_name, text, value) in table {
            assert_eq!(read(type_name, text), Ok(value), "{type_name} {text}");
        }
    }

    #[test]
    fn text_that_is_no_value_of_the_type_is_refused() {
        let table = [
            ("bool", "1"),
            ("bool", ""),
            ("int", ""),
            ("int", "ten"),
            ("uint8", "0x"),
            ("uint8", "0x+1"),
            ("size", "M"),
            ("size", "-1M"),
            ("size", "99999999P"),
            ("uint64", "18446744073709551616"),
        ];
        for (type_name, text) in table {
            assert!(read(type_name, text).is_err(), "{type_name} {text}");
        }
    }
}
