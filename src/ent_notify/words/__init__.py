"""What people read: mail texts, push sentences and headlines, by event and language."""
