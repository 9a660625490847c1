// Cell states of perturbations in replicates and batches: a Dirichlet-multinomial regression with a level between
// perturbation and cells.
//
// A replicate r (a well, an animal) of perturbation c_r has shares around those of the perturbation:
//
//   mu ~ normal(0, 2), weight ~ normal(0, 1), both summing to zero over states
//   tau, spread ~ normal(0, 1) above zero,  rho ~ lognormal(log 50, 1),  z_p ~ normal(0, 1), summing to zero
//   log q_p = mu + tau / sqrt(D) X_p W + spread z_p, up to a constant
//   beta_b ~ normal(0, .5), summing to zero;  u_r ~ Dirichlet(rho softmax(log q_c + beta_b)),  N_r ~ Multinomial(n_r, u_r)
//
// The shares u are summed out. The target is not part of the density; it is declared because a fit carries it.
//
// Units: count in cells; features should have unit scale.
// Source: Learning robust statistics for scoring perturbations (Broad Institute's challenge of 2023).
data {
  int<lower=1> perturbation;
  int<lower=1> state;
  int<lower=1> feature;
  int<lower=1> replicate;
  int<lower=1> n_batch;
  matrix[perturbation, feature] features; // X
  array[replicate] int<lower=0, upper=perturbation - 1> condition; // c, counted from zero
  array[replicate] int<lower=0> batch; // b, counted from zero
  vector<lower=0>[state] target_; // Q, wanted shares (Stan reserves the name)
  array[replicate] int<lower=0> cells; // n
  array[replicate, state] int<lower=0> count; // N
}
transformed data {
  matrix[perturbation, feature] scaled = features / sqrt(feature);
}
parameters {
  sum_to_zero_vector[state] mu; // log shares where features are zero
  array[feature] sum_to_zero_vector[state] weight; // W
  real<lower=0> tau; // scale of what features explain
  real<lower=0> spread; // sd of log shares
  array[perturbation] sum_to_zero_vector[state] deviation; // z
  array[n_batch] sum_to_zero_vector[state] batch_effect; // beta
  real<lower=0> rho; // concentration of replicates
}
transformed parameters {
  matrix[state, replicate] alpha;
  {
    matrix[state, feature] W;
    for (d in 1 : feature) {
      W[ : , d] = weight[d];
    }
    matrix[state, perturbation] eta = rep_matrix(mu, perturbation)
                                      + tau * W * scaled';
    for (p in 1 : perturbation) {
      eta[ : , p] += spread * deviation[p];
    }
    for (r in 1 : replicate) {
      alpha[ : , r] = rho * softmax(eta[ : , condition[r] + 1]
                                    + batch_effect[batch[r] + 1]) + 1e-300;
    }
  }
}
model {
  target += normal_lpdf(mu | 0, 2);
  for (d in 1 : feature) {
    target += normal_lpdf(weight[d] | 0, 1);
  }
  target += normal_lpdf(tau | 0, 1);
  target += normal_lpdf(spread | 0, 1);
  target += lognormal_lpdf(rho | log(50), 1);
  for (b in 1 : n_batch) {
    target += normal_lpdf(batch_effect[b] | 0, 0.5);
  }
  for (p in 1 : perturbation) {
    target += normal_lpdf(deviation[p] | 0, 1);
  }
  for (r in 1 : replicate) {
    target += dirichlet_multinomial_lpmf(count[r] | alpha[ : , r]);
  }
}
generated quantities {
  vector[replicate] log_lik;
  array[replicate, state] int count_rep;
  for (r in 1 : replicate) {
    log_lik[r] = dirichlet_multinomial_lpmf(count[r] | alpha[ : , r]);
    count_rep[r] = multinomial_rng(dirichlet_rng(alpha[ : , r]), cells[r]);
  }
}
