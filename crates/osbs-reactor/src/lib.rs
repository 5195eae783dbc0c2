//! One run of the pipeline: phases, plugin trait, run state, event stream; plugins/ holds one file a plugin.
