// Counts of genes in samples, with rates that learn from each other.
//
//   inverse_scale ~ gamma(a0, b0)
//   rate_g ~ gamma(shape, inverse_scale)
//   count_ng ~ Poisson(exposure_n rate_g)
//
// Written from the card, and not from the other densities, so that each checks the other.
data {
  int<lower=1> sample;
  int<lower=1> gene;
  vector<lower=0>[sample] exposure;
  real<lower=0> shape;
  real<lower=0> a0;
  real<lower=0> b0;
  array[sample, gene] int<lower=0> count;
}
parameters {
  real<lower=0> inverse_scale;
  vector<lower=0>[gene] rate;
}
model {
  inverse_scale ~ gamma(a0, b0);
  rate ~ gamma(shape, inverse_scale);
  for (n in 1 : sample) {
    count[n] ~ poisson(exposure[n] * rate);
  }
}
generated quantities {
  vector[sample] log_lik;
  array[sample, gene] int count_rep;
  for (n in 1 : sample) {
    log_lik[n] = poisson_lpmf(count[n] | exposure[n] * rate);
    count_rep[n] = poisson_rng(exposure[n] * rate);
  }
}
