"""The pages on which people sign up, log in and look after their account: what `gateway.pages.accounts` serves."""
