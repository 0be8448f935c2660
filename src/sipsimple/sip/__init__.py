"""A SIP library: values, messages, transactions, dialogs and transports. It posts no notifications."""
