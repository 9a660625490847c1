// Negative binomial mixture: groups of cells from raw counts. The dispersion is known.
//
// Every cell n belongs to one of K components, with probabilities pi. Every component k has a mean mu_kd for each gene
// d, and counts vary around it as a negative binomial:
//
//   pi ~ Dirichlet(alpha0, ..., alpha0)
//   p_kd ~ Beta(a0, b0),  mu_kd = r_d (1 - p_kd) / p_kd,  r_d = 1 / phi_d
//   G_n ~ Categorical(pi)
//   x_nd | G_n = k ~ NB(mean s_n mu_kd, variance mean + phi_d mean^2), genes independent given the group
//
// The groups G are summed out, and are in the draws as group_probability. Components are exchangeable: start chains
// near one mode and relabel before reading pi, mu and group_probability by component.
//
// Units: x and mu are molecules (raw counts), mu in a cell of size factor 1; all else has no unit.
// Source: MCB112 (Harvard), week 5: mixture models and expectation maximisation, for negative binomial counts.
functions {
  #include nb_mixture.stanfunctions
}
data {
  int<lower=1> cell;
  int<lower=1> gene;
  int<lower=1> component;
  vector<lower=0>[gene] phi; // dispersion: variance = mean + phi mean^2
  vector<lower=0>[cell] size_factor; // s, relative depth; 1 for none
  real<lower=0> alpha0; // concentration of the Dirichlet prior of pi
  real<lower=0> a0; // first parameter of the beta prior of p
  real<lower=0> b0; // second parameter of that prior
  array[cell, gene] int<lower=0> x; // counts
}
transformed data {
  matrix[gene, cell] count = to_matrix(x)';
  int same_depth = min(size_factor) == max(size_factor);
  vector[gene] r = inv(phi);
  matrix[component, gene] log_phi = rep_matrix(log(phi)', component);
  vector[cell] log_constant = log_depth_factor(count, size_factor)
                              + log_coefficient_of_cell(count, r);
  real sum_log_constant = sum(log_constant);
}
parameters {
  simplex[component] pi; // weights
  matrix<lower=0>[component, gene] mu; // centroids
}
model {
  matrix[component, cell] lp = log_joint(pi, log_odds(mu, log_phi), log_phi,
                                         count, size_factor, same_depth,
                                         component);
  target += dirichlet_lpdf(pi | rep_vector(alpha0, component));
  target += centroid_lpdf(mu | log_phi, a0, b0);
  target += sum_log_constant + sum_log_marginal(lp, cell);
}
generated quantities {
  vector[cell] log_lik; // log P(x_n | phi, pi, mu)
  matrix[cell, component] group_probability; // P(G_n = k | x_n, phi, pi, mu)
  array[cell, gene] int x_rep; // replicated counts, of new groups drawn from pi
  {
    matrix[component, cell] lp = log_joint(pi, log_odds(mu, log_phi),
                                           log_phi, count, size_factor,
                                           same_depth, component);
    for (n in 1 : cell) {
      int k = categorical_rng(pi);
      log_lik[n] = log_constant[n] + log_sum_exp(lp[ : , n]);
      group_probability[n] = softmax(lp[ : , n])';
      x_rep[n] = count_rng(size_factor[n] * mu[k]', r);
    }
  }
}

