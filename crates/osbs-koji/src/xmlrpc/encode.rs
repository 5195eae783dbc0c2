//! Values to XML.
//!
//! Must not write what XML forbids: control characters become U+FFFD. Bytes that must survive go as base64.

use crate::{Fault, Value};
use base64::Engine as _;
use std::fmt::Write as _;

const HEAD: &str = "<?xml version='1.0'?>\n";

/// A call.
pub fn encode_call(method: &str, params: &[Value]) -> String {
    let mut out = format!("{HEAD}<methodCall>\n<methodName>");
    text(&mut out, method);
    out.push_str("</methodName>\n<params>\n");
    for param in params {
        out.push_str("<param>\n");
        value(&mut out, param);
        out.push_str("</param>\n");
    }
    out.push_str("</params>\n</methodCall>\n");
    out
}

/// The answer to a call that went well.
pub fn encode_response(result: &Value) -> String {
    let mut out = format!("{HEAD}<methodResponse>\n<params>\n<param>\n");
    value(&mut out, result);
    out.push_str("</param>\n</params>\n</methodResponse>\n");
    out
}

/// The answer to a call that did not.
pub fn encode_fault(fault: &Fault) -> String {
    let mut out = format!("{HEAD}<methodResponse>\n<fault>\n");
    let code = Value::Int(fault.code);
    value(&mut out, &Value::members([("faultCode", code), ("faultString", fault.text.as_str().into())]));
    out.push_str("</fault>\n</methodResponse>\n");
    out
}

fn value(out: &mut String, value: &Value) {
    // Writing to a string cannot fail.
    let _ = match value {
        // Python leaves out this one line feed.
        Value::Nil => return out.push_str("<value><nil/></value>"),
        Value::Bool(value) => writeln!(out, "<value><boolean>{}</boolean></value>", u8::from(*value)),
        Value::Int(number) if i32::try_from(*number).is_ok() => writeln!(out, "<value><int>{number}</int></value>"),
        Value::Int(number) => writeln!(out, "<value><i8>{number}</i8></value>"),
        Value::Double(number) => writeln!(out, "<value><double>{number:?}</double></value>"),
        Value::String(string) => return element(out, "string", string),
        Value::DateTime(date) => return element(out, "dateTime.iso8601", date),
        Value::Bytes(bytes) => {
            return element(out, "base64", &base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        Value::Array(items) => {
            out.push_str("<value><array><data>\n");
            for item in items {
                self::value(out, item);
            }
            writeln!(out, "</data></array></value>")
        }
        Value::Struct(members) => {
            out.push_str("<value><struct>\n");
            for (name, member) in members {
                out.push_str("<member>\n<name>");
                text(out, name);
                out.push_str("</name>\n");
                self::value(out, member);
                out.push_str("</member>\n");
            }
            writeln!(out, "</struct></value>")
        }
    };
}

fn element(out: &mut String, name: &str, content: &str) {
    let _ = write!(out, "<value><{name}>");
    text(out, content);
    let _ = writeln!(out, "</{name}></value>");
}

fn text(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // A reader would take it for a line feed.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}
