// Negative binomial mixture with batch effects on the means. The dispersion is known.
//
// Every cell n belongs to one of K components, with probabilities pi, and was measured in a batch b_n:
//
//   pi ~ Dirichlet(alpha0, ..., alpha0)
//   p_kd ~ Beta(a0, b0),  mu_kd = r_d (1 - p_kd) / p_kd,  r_d = 1 / phi_d
//   shift_d ~ normal(0, sd_shift) within the vectors that sum to zero over batches, for each gene d
//   G_n ~ Categorical(pi)
//   x_nd | G_n = k ~ NB(mean s_n mu_kd exp(shift_d,b_n), variance mean + phi_d mean^2)
//
// The groups G are summed out, and are in the draws as group_probability. Components are exchangeable: start chains
// near one mode and relabel before reading pi, mu and group_probability by component.
//
// Units: x and mu are molecules (raw counts), mu in a cell of size factor 1; shift is a natural logarithm.
// Source: MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.
functions {
  #include nb_mixture.stanfunctions
}
data {
  int<lower=1> cell;
  int<lower=1> gene;
  int<lower=1> component;
  int<lower=2> n_batch;
  vector<lower=0>[gene] phi; // dispersion: variance = mean + phi mean^2
  vector<lower=0>[cell] size_factor; // s, relative depth; 1 for none
  real<lower=0> alpha0; // concentration of the Dirichlet prior of pi
  real<lower=0> a0; // first parameter of the beta prior of p
  real<lower=0> b0; // second parameter of that prior
  array[cell] int<lower=0, upper=n_batch - 1> batch; // counted from zero
  real<lower=0> sd_shift; // standard deviation of the shifts in their prior
  array[cell, gene] int<lower=0> x; // counts
}
transformed data {
  vector[gene] r = inv(phi);
  matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
}
parameters {
  simplex[component] pi; // weights
  matrix<lower=0>[component, gene] mu; // centroids, of the geometric mean over batches
  array[gene] sum_to_zero_vector[n_batch] shift; // log ratio of a batch to that mean
}
transformed parameters {
  matrix[gene, n_batch] fold;
  for (d in 1 : gene) {
    fold[d] = exp(shift[d])';
  }
}
model {
  target += dirichlet_lpdf(pi | rep_vector(alpha0, component));
  target += centroid_lpdf(mu | log_phi, a0, b0);
  for (d in 1 : gene) {
    target += normal_lpdf(shift[d] | 0, sd_shift);
  }
  for (n in 1 : cell) {
    vector[component] lp = log(pi);
    vector[gene] depth = size_factor[n] * fold[ : , 1 + batch[n]];
    for (k in 1 : component) {
      lp[k] += neg_binomial_2_lpmf(x[n] | depth .* mu[k]', r);
    }
    target += log_sum_exp(lp);
  }
}
generated quantities {
  vector[cell] log_lik; // log P(x_n | phi, pi, mu, shift)
  matrix[cell, component] group_probability; // P(G_n = k | x_n, ...)
  array[cell, gene] int x_rep; // replicated counts, of new groups
  for (n in 1 : cell) {
    vector[component] lp = log(pi);
    vector[gene] depth = size_factor[n] * fold[ : , 1 + batch[n]];
    int g = categorical_rng(pi);
    for (k in 1 : component) {
      lp[k] += neg_binomial_2_lpmf(x[n] | depth .* mu[k]', r);
    }
    log_lik[n] = log_sum_exp(lp);
    group_probability[n] = softmax(lp)';
    x_rep[n] = count_rng(depth .* mu[g]', r);
  }
}
