//! Every option, defined once.
