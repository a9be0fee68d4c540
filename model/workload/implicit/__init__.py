"""A population of which nothing is stored but a few numbers and two bytes an account: who follows whom is computed."""
