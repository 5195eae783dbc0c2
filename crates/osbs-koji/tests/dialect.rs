//! The dialect's corners: what other writers send, and what must be refused.

#![allow(clippy::unwrap_used)]

use osbs_koji::xmlrpc::{Call, decode_call, decode_response, encode_call, encode_fault, encode_response};
use osbs_koji::{Arguments, Fault, FaultCode, Struct, Value};

fn call_with(value: &str) -> String {
    format!("<methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>")
}

#[test]
fn values_are_read_as_others_write_them() {
    let text = |text: &str| Value::from(text);
    for (xml, value) in [
        ("<value/>", text("")),
        ("<value></value>", text("")),
        ("<value> as it is </value>", text(" as it is ")),
        ("<value>\n <int>\n7 </int>\n</value>", Value::Int(7)),
        ("<value><string/></value>", text("")),
        ("<value><string>a&lt;&amp;&gt;&quot;&apos;&#65;&#x42;</string></value>", text("a<&>\"'AB")),
        ("<value><string><![CDATA[<&]]>x</string></value>", text("<&x")),
        ("<value><string>a\r\nb&#13;</string></value>", text("a\nb\r")),
        ("<value><ex:nil xmlns:ex=\"http://ws.apache.org/xmlrpc/namespaces/extensions\"/></value>", Value::Nil),
        ("<value><nil></nil></value>", Value::Nil),
        ("<value><int>99999999999</int></value>", Value::Int(99_999_999_999)),
        ("<value><i8>-9223372036854775808</i8></value>", Value::Int(i64::MIN)),
        ("<value><double>1e3</double></value>", Value::Double(1000.0)),
        ("<value><base64>aGVs\nbG8</base64></value>", Value::Bytes(b"hello".to_vec())),
        ("<value><array><data/></array></value>", Value::Array(Vec::new())),
        ("<value><struct/></value>", Value::Struct(Struct::new())),
        (
            "<value><struct><member><value>v</value><!-- odd --><name>n</name></member></struct></value>",
            Value::members([("n", text("v"))]),
        ),
    ] {
        let call = decode_call(call_with(xml).as_bytes()).unwrap_or_else(|error| panic!("{xml}: {error}"));
        assert_eq!(call, Call { method: "m".into(), params: vec![value] }, "{xml}");
    }
    let bare = decode_call(b"<methodCall><methodName>m</methodName></methodCall>").unwrap();
    assert!(bare.params.is_empty());
}

#[test]
fn what_is_no_xml_rpc_is_refused() {
    let deep = format!("{}{}", "<value><array><data>".repeat(200), "</data></array></value>".repeat(200));
    for (document, problem) in [
        (String::new(), "the end of the document"),
        ("hello".into(), "text in"),
        ("<html/>".into(), "<html>"),
        (call_with("<value><int>x</int></value>"), "\"x\" as <int>"),
        (call_with("<value><i8>9223372036854775808</i8></value>"), "as <i8>"),
        (call_with("<value><boolean>true</boolean></value>"), "as <boolean>"),
        (call_with("<value><base64>*</base64></value>"), "as <base64>"),
        (call_with("<value><float>1</float></value>"), "unknown type <float>"),
        (call_with("<value>x<int>1</int></value>"), "text before <int>"),
        (call_with("<value>&bomb;</value>"), "unknown entity"),
        (call_with("<value>&#0;</value>"), "at byte"),
        (call_with("<value>\u{1}</value>"), "control character"),
        (call_with("<value><struct><member><name>n</name></member></struct></value>"), "without name or value"),
        (call_with(&deep), "deep"),
        (format!("<!DOCTYPE x [<!ENTITY a 'b'>]>{}", call_with("<value>&a;</value>")), "document type"),
        (format!("{}<more/>", call_with("<value/>")), "at byte"),
        ("<methodCall><methodName>m</methodName><params>".into(), "the end of the document"),
        ("<methodCall><methodName>m</methodCall>".into(), "at byte"),
    ] {
        let error = decode_call(document.as_bytes()).expect_err(&document).to_string();
        assert!(error.contains(problem), "{document}: {error}");
    }
    assert!(decode_call(b"<methodCall>\xff</methodCall>").unwrap_err().to_string().contains("UTF-8"));
    for document in ["<methodResponse/>", "<methodResponse><params/></methodResponse>"] {
        assert!(decode_response(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn a_fault_may_name_its_parts_in_any_order() {
    let members = "<member><name>faultString</name><value>no</value></member>\
                   <member><name>faultCode</name><value><int>1007</int></value></member>";
    let document = format!("<methodResponse><fault><value><struct>{members}</struct></value></fault></methodResponse>");
    let fault = decode_response(document.as_bytes()).unwrap().unwrap_err();
    assert_eq!(fault, Fault::new(FaultCode::AuthExpired, "no"));
    assert_eq!(decode_response(encode_fault(&fault).as_bytes()).unwrap().unwrap_err(), fault);
}

#[test]
fn what_is_written_can_be_read_whatever_is_in_it() {
    let value = Value::members([
        ("text", "<a> & \"b\"\r\n\t".into()),
        ("large", Value::Int(1 << 40)),
        ("small", Value::Int(-1)),
        ("real", Value::Double(0.1)),
        ("bytes", Value::Bytes(vec![0, 255, 10])),
        ("none", Value::Nil),
        ("list", vec![Value::Bool(true), Value::Array(Vec::new())].into()),
    ]);
    assert_eq!(decode_response(encode_response(&value).as_bytes()).unwrap().unwrap(), value);
    let odd = encode_call("a<b", &["\u{1}\u{fffe}".into()]);
    assert_eq!(decode_call(odd.as_bytes()).unwrap().params, [Value::from("\u{fffd}\u{fffd}")]);
}

#[test]
fn arguments_by_name_are_the_last_struct_with_a_true_mark() {
    let arguments = Arguments::of([1.into()]).named("strict", true);
    let params = arguments.clone().into_params();
    assert_eq!(params[1], Value::members([("strict", true.into()), ("__starstar", true.into())]));
    assert_eq!(Arguments::from_params(params), arguments);
    assert_eq!(Arguments::none().into_params(), []);
    let marked = |mark: bool| Value::members([("a", 1.into()), ("__starstar", mark.into())]);
    for data in [vec![marked(false)], vec![marked(true), 1.into()]] {
        let read = Arguments::from_params(data.clone());
        assert!(read.named.is_empty() && read.positional == data, "{read:?}");
    }
}
