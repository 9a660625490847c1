// Cell states of perturbations: a Dirichlet-multinomial regression on features of the perturbed gene.
//
// A perturbation p of n_p cells has shares q_p of K states, which vary around what its features predict:
//
//   mu ~ normal(0, 2), weight ~ normal(0, 1), both summing to zero over states
//   tau ~ normal(0, 1) above zero,  kappa ~ lognormal(log 20, 1)
//   q_p ~ Dirichlet(kappa softmax(mu + tau / sqrt(D) X_p W)),  N_p ~ Multinomial(n_p, q_p)
//
// The shares q are summed out. The target is not part of the density; it is declared because a fit carries it.
//
// Units: count in cells; features should have unit scale.
// Source: Learning robust statistics for scoring perturbations (Broad Institute's challenge of 2023).
data {
  int<lower=1> perturbation;
  int<lower=1> state;
  int<lower=1> feature;
  matrix[perturbation, feature] features; // X
  vector<lower=0>[state] target_; // Q, wanted shares (Stan reserves the name)
  array[perturbation] int<lower=0> cells; // n
  array[perturbation, state] int<lower=0> count; // N
}
transformed data {
  matrix[perturbation, feature] scaled = features / sqrt(feature);
}
parameters {
  sum_to_zero_vector[state] mu; // log shares where features are zero
  array[feature] sum_to_zero_vector[state] weight; // W
  real<lower=0> tau; // scale of what features explain
  real<lower=0> kappa; // concentration
}
transformed parameters {
  matrix[state, perturbation] alpha;
  {
    matrix[state, feature] W;
    for (d in 1 : feature) {
      W[ : , d] = weight[d];
    }
    matrix[state, perturbation] eta = rep_matrix(mu, perturbation)
                                      + tau * W * scaled';
    for (p in 1 : perturbation) {
      alpha[ : , p] = kappa * softmax(eta[ : , p]) + 1e-300;
    }
  }
}
model {
  target += normal_lpdf(mu | 0, 2);
  for (d in 1 : feature) {
    target += normal_lpdf(weight[d] | 0, 1);
  }
  target += normal_lpdf(tau | 0, 1);
  target += lognormal_lpdf(kappa | log(20), 1);
  for (p in 1 : perturbation) {
    target += dirichlet_multinomial_lpmf(count[p] | alpha[ : , p]);
  }
}
generated quantities {
  vector[perturbation] log_lik;
  array[perturbation, state] int count_rep;
  for (p in 1 : perturbation) {
    log_lik[p] = dirichlet_multinomial_lpmf(count[p] | alpha[ : , p]);
    count_rep[p] = multinomial_rng(dirichlet_rng(alpha[ : , p]), cells[p]);
  }
}
