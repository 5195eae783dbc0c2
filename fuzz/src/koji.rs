//! XML-RPC documents of Koji: calls that a hub gets, answers that a client gets.

use crate::check_message;
use osbs_koji::xmlrpc::{decode_call, decode_response, encode_call, encode_fault, encode_response};
use osbs_koji::{Arguments, MethodCall, Value, calls};

/// One document, read as a call and as an answer.
pub fn koji(data: &[u8]) {
    match decode_call(data) {
        Ok(call) => {
            let written = encode_call(&call.method, &call.params);
            let again = decode_call(written.as_bytes()).expect("what is written is read");
            // Compared as text: a number that is none differs from itself.
            assert_eq!(encode_call(&again.method, &again.params), written);
            let arguments = Arguments::from_params(call.params);
            let _ = Arguments::from_params(arguments.into_params());
        }
        Err(error) => check_message(&error.to_string()),
    }
    match decode_response(data) {
        Ok(Ok(value)) => {
            let written = encode_response(&value);
            let again = decode_response(written.as_bytes()).expect("what is written is read").expect("a result");
            assert_eq!(encode_response(&again), written);
            check_value(&value);
        }
        Ok(Err(fault)) => {
            let written = encode_fault(&fault);
            assert_eq!(decode_response(written.as_bytes()), Ok(Err(fault)));
        }
        Err(error) => check_message(&error.to_string()),
    }
}

/// Every call's answer may be anything.
fn check_value(value: &Value) {
    let _ = Value::from_json(&value.to_json());
    check_answer(&calls::get_task_info(1, true), value);
    check_answer(&calls::get_build("n-1-1"), value);
    check_answer(&calls::get_build_config(1), value);
    check_answer(&calls::list_task_output(1), value);
    check_answer(&calls::list_archives(1, None), value);
    check_answer(&calls::list_rpms(), value);
    check_answer(&calls::get_buildroot(1), value);
    check_answer(&calls::list_tagged("t"), value);
    check_answer(&calls::get_build_type(1), value);
    check_answer(&calls::check_upload("d", "n"), value);
    check_answer(&calls::multi_call::<Value>(&[]), value);
    check_answer(&calls::subsession(), value);
    check_answer(&calls::host::get_load_data(), value);
    check_answer(&calls::host::task_wait(1), value);
    check_answer(&calls::get_task_outcome(1), value);
    let part = calls::OutputPart { name: "n", offset: 0, size: 1, volume: None };
    check_answer(&calls::download_task_output(1, part), value);
    if let Ok(Some(task)) = calls::get_task_info(1, true).read(value.clone()) {
        let _ = (task.request(), task.result());
    }
}

fn check_answer<T>(call: &MethodCall<T>, value: &Value) {
    if let Err(error) = call.read(value.clone()) {
        check_message(&error.to_string());
    }
}
