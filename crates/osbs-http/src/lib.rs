//! The one HTTP transport: retry by class, deadlines, tokens, TLS, redaction, address deny list.
