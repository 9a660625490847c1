// Negative binomial mixture with covariates of the weights. The dispersion is known.
//
// Every cell n belongs to one of K components, with probabilities that depend on its covariates Z_n:
//
//   pi ~ Dirichlet(alpha0, ..., alpha0)
//   effect_p ~ normal(0, sd_effect) within the vectors that sum to zero over components, for each covariate p
//   G_n ~ Categorical(softmax(log pi + Z_n effect))
//   p_kd ~ Beta(a0, b0),  mu_kd = r_d (1 - p_kd) / p_kd,  r_d = 1 / phi_d
//   x_nd | G_n = k ~ NB(mean s_n mu_kd, variance mean + phi_d mean^2), genes independent given the group
//
// The groups G are summed out, and are in the draws as group_probability. Components are exchangeable: start chains
// near one mode and relabel before reading pi, mu, effect and group_probability by component.
//
// Units: x and mu are molecules (raw counts), mu in a cell of size factor 1; covariates in units of usual changes.
// Source: MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.
functions {
  #include nb_mixture.stanfunctions
}
data {
  int<lower=1> cell;
  int<lower=1> gene;
  int<lower=2> component;
  int<lower=1> covariate;
  vector<lower=0>[gene] phi; // dispersion: variance = mean + phi mean^2
  vector<lower=0>[cell] size_factor; // s, relative depth; 1 for none
  real<lower=0> alpha0; // concentration of the Dirichlet prior of pi
  real<lower=0> a0; // first parameter of the beta prior of p
  real<lower=0> b0; // second parameter of that prior
  matrix[cell, covariate] covariates; // Z
  real<lower=0> sd_effect; // standard deviation of the effects in their prior
  array[cell, gene] int<lower=0> x; // counts
}
transformed data {
  vector[gene] r = inv(phi);
  matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
}
parameters {
  simplex[component] pi; // weights of a cell whose covariates are zero
  matrix<lower=0>[component, gene] mu; // centroids
  array[covariate] sum_to_zero_vector[component] effect;
}
transformed parameters {
  matrix[component, cell] log_weight;
  {
    matrix[component, covariate] W;
    for (p in 1 : covariate) {
      W[ : , p] = effect[p];
    }
    matrix[component, cell] logits = rep_matrix(log(pi), cell)
                                     + W * covariates';
    for (n in 1 : cell) {
      log_weight[ : , n] = log_softmax(logits[ : , n]);
    }
  }
}
model {
  target += dirichlet_lpdf(pi | rep_vector(alpha0, component));
  target += centroid_lpdf(mu | log_phi, a0, b0);
  for (p in 1 : covariate) {
    target += normal_lpdf(effect[p] | 0, sd_effect);
  }
  for (n in 1 : cell) {
    vector[component] lp = log_weight[ : , n];
    for (k in 1 : component) {
      lp[k] += neg_binomial_2_lpmf(x[n] | size_factor[n] * mu[k]', r);
    }
    target += log_sum_exp(lp);
  }
}
generated quantities {
  vector[cell] log_lik; // log P(x_n | phi, pi, mu, effect)
  matrix[cell, component] group_probability; // P(G_n = k | x_n, ...)
  array[cell, gene] int x_rep; // replicated counts, of new groups
  for (n in 1 : cell) {
    vector[component] lp = log_weight[ : , n];
    int g = categorical_logit_rng(lp);
    for (k in 1 : component) {
      lp[k] += neg_binomial_2_lpmf(x[n] | size_factor[n] * mu[k]', r);
    }
    log_lik[n] = log_sum_exp(lp);
    group_probability[n] = softmax(lp)';
    x_rep[n] = count_rng(size_factor[n] * mu[g]', r);
  }
}
