// Locus regression: which mutational processes act, and where along the genome. A mutation picks its locus and its
// context at once; all genomes share the features of the loci.
// The signatures of the first processes are given.
//
// Every mutation of a genome g comes from one of K processes. Process k prefers loci by their features X_l, contexts
// by lam_k, and mutates a context c to the base a with probability rho_kca:
//
//   beta_k ~ Normal(0, tau_k^2 I)
//   lam_kc proportional to sum_a s_kca / T_c,  rho_kca to s_kca, for a given signature s_k of a genome of contexts T
//   lam_k ~ Dirichlet(kappa_k, ..., kappa_k),  rho_kc ~ Dirichlet(xi_k, xi_k, xi_k), for the processes that are free
//   pi_g ~ Dirichlet(alpha)
//   z ~ Categorical(pi_g)
//   locus l, context c | z = k: probability proportional to l_l exp(beta_k' X_l) lam_kc t_cl e_c,
//     that is, locus: theta_kl = l_l exp(beta_k' X_l) S_kl / sum_l' l_l' exp(beta_k' X_l') S_kl',
//     context | locus l: lam_kc t_cl e_c / S_kl,  S_kl = sum_c lam_kc t_cl e_c
//   base | z = k, context c ~ Categorical(rho_kc)
//
// A cell of the data is a genome, a locus, a channel (context and base, in COSMIC's order) and the number of mutations
// of that kind. The processes z are summed out, and are in the draws as process_probability. Processes are
// exchangeable: start chains near one mode and relabel before reading beta, lam, rho, pi and process_probability.
//
// Units: count is in mutations; exposure and context_opportunity in any unit that is the same everywhere; beta in log
// rate for each unit of a feature; all else has no unit.
// Source: A. Lynch: Locus Regression (2022), Algorithm 1; the joint form is that of the author's later code.
functions {
  #include locus_regression.stanfunctions
}
data {
  int<lower=1> cell;
  int<lower=1> n_genome;
  int<lower=1> n_locus;
  int<lower=1> feature;
  int<lower=1> process; // reference + free
  int<lower=1> reference;
  int<lower=1> free;
  int<lower=1> context;
  int<lower=1> alternative;
  int<lower=1> n_channel;
  matrix[feature, n_locus] features; // X
  vector<lower=0>[n_locus] exposure; // l, such as the length of a window
  matrix<lower=0>[context, n_locus] context_opportunity; // t
  vector<lower=0>[context] context_exposure; // e
  vector<lower=0>[process] alpha; // concentration of the Dirichlet prior of pi
  vector<lower=0>[process] tau; // standard deviation of the prior of beta
  vector<lower=0>[free] lam_concentration; // of the Dirichlet prior of lam
  vector<lower=0>[free] rho_concentration; // of the Dirichlet prior of rho
  matrix<lower=0>[reference, n_channel] signatures; // s
  vector<lower=0>[context] signature_opportunity; // T; 0: as in the data
  // Labels are counted from zero.
  array[cell] int<lower=0, upper=n_genome - 1> genome;
  array[cell] int<lower=0> count; // mutations
  array[cell] int<lower=0, upper=n_locus - 1> locus;
  array[cell] int<lower=0, upper=n_channel - 1> channel;
}
transformed data {
  array[n_channel] int context_of
    = contexts_of_channels(n_channel, context, alternative);
  array[n_channel] int alternative_of
    = alternatives_of_channels(n_channel, context, alternative);
  // Rows and columns of the tables that each cell is computed from
  array[cell] int label = label_of_pair(genome, channel, n_channel);
  int pairs = size(distinct(label, n_genome * n_channel));
  array[pairs] int distinct_label = distinct(label, n_genome * n_channel);
  array[cell] int pair = index_of(label, distinct_label);
  array[pairs] int genome_of_pair;
  array[pairs] int channel_of_pair;
  for (u in 1 : pairs) {
    genome_of_pair[u] = (distinct_label[u] - 1) %/% n_channel + 1;
    channel_of_pair[u] = (distinct_label[u] - 1) % n_channel + 1;
  }
  array[cell] int place = place_of(rep_array(0, cell), locus, n_locus);
  array[cell] int order = sort_indices_asc(place);
  array[n_locus] int last = last_of(place, n_locus);
  array[cell] int ordered_pair = pair[order];
  vector[cell] mutations = to_vector(count);
  vector[cell] ordered_mutations = mutations[order];
  vector[n_locus] mutations_of_place = sum_by(mutations, place, n_locus);
  // Factors that do not depend on parameters
  matrix[context, n_locus] opportunity
    = diag_pre_multiply(context_exposure, context_opportunity); // t e
  matrix[process, n_locus] log_exposure = rep_matrix(log(exposure)', process);
  vector[process * feature] sd_of_beta = to_vector(rep_matrix(tau, feature));
  vector[cell] log_opportunity
    = log_opportunity_of(opportunity, context_of, channel, locus);
  matrix[reference, n_channel] share = given_shares(signatures, reference, n_channel);
  array[reference] vector[context] given_lam
    = given_preferences(share,
                        genome_of_signatures(signature_opportunity, opportunity,
                                             exposure),
                        context_of, reference);
  array[reference, context] vector[alternative] given_rho
    = given_alternatives(share, context_of, alternative_of, reference, context,
                         alternative);
  real log_constant = dot_product(mutations, log_opportunity);
}
parameters {
  matrix[process, feature] beta; // effects of features
  array[free] simplex[context] lam_free; // preferences for contexts
  array[free, context] simplex[alternative] rho_free; // bases
  array[n_genome] simplex[process] pi; // shares
}
model {
  array[process] vector[context] lam = append_array(given_lam, lam_free);
  array[process, context] vector[alternative] rho
    = append_array(given_rho, rho_free);
  matrix[process, context] preference = to_rows(lam, process, context);
  matrix[process, n_locus] log_total = log(preference * opportunity); // log S
  matrix[process, n_locus] log_locus
    = log_theta(log_exposure + beta * features + log_total,
                process, 1, n_locus);
  target += normal_lpdf(to_vector(beta) | 0, sd_of_beta);
  target += dirichlet_lpdf(pi | alpha);
  target += log_prior_of_spectra(lam_free, rho_free, lam_concentration,
                                 rho_concentration, free, context, alternative);
  target += log_constant
            + sum_log_mixture(to_columns(pi, process, n_genome),
                by_channel(preference, rho, context_of, alternative_of,
                           process),
                log_locus - log_total, genome_of_pair, channel_of_pair,
                ordered_pair, ordered_mutations, last, mutations_of_place,
                process);
}
generated quantities {
  vector[cell] log_lik; // log P(locus, channel | ...), all mutations of a cell
  matrix[cell, process] process_probability; // P(z = k | ...) of a mutation
  array[cell] int locus_rep; // replicated mutations, one of each cell's genome
  array[cell] int channel_rep;
  {
    array[process] vector[context] lam = append_array(given_lam, lam_free);
    array[process, context] vector[alternative] rho
      = append_array(given_rho, rho_free);
    matrix[process, context] preference = to_rows(lam, process, context);
    matrix[process, n_locus] log_total = log(preference * opportunity); // log S
    matrix[process, n_locus] log_locus
      = log_theta(log_exposure + beta * features + log_total,
                  process, 1, n_locus);
    matrix[process, cell] lp
      = log_joint(to_columns(pi, process, n_genome),
                  by_channel(preference, rho, context_of, alternative_of,
                             process),
                  log_locus - log_total, genome_of_pair[pair],
                  channel_of_pair[pair], place);
    array[1, process] vector[n_locus] theta
      = cumulative_theta(log_locus, process, 1, n_locus);
    for (i in 1 : cell) {
      array[2] int drawn
        = mutation_rng(pi[genome[i] + 1], theta[1], lam, rho, opportunity,
                       context, alternative);
      log_lik[i] = mutations[i]
                   * (log_opportunity[i] + log_sum_exp(lp[ : , i]));
      process_probability[i] = softmax(lp[ : , i])';
      locus_rep[i] = drawn[1];
      channel_rep[i] = drawn[2];
    }
  }
}
