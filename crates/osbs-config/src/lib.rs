//! osbs.conf, config.yaml, container.yaml, user parameters: text in, checked values with positions out.
