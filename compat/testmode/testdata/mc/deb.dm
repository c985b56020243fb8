alice	al@example.org
