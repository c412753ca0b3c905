//! Products and sums that involve matrices.

use super::fuel::Stop;
use super::node::{Expr, Node};
use super::parser::{Parser, into_expr};

/// Nodes beyond which a cell of a matrix product is not built.
const MAX_CELL: u64 = 2000;

impl Parser<'_, '_, '_> {
    pub(super) fn multiply(&mut self, left: Node, right: Node) -> Result<Node, Stop> {
        match (left, right) {
            (Node::Matrix(left), Node::Matrix(right)) => self.matrix_product(&left, &right),
            (Node::Matrix(rows), Node::Expr(scalar)) | (Node::Expr(scalar), Node::Matrix(rows)) => {
                self.scaled(&scalar, rows)
            }
            (left, right) => Ok(Node::Expr(into_expr(left)?.times(into_expr(right)?))),
        }
    }

    pub(super) fn scaled(&mut self, scalar: &Expr, rows: Vec<Vec<Node>>) -> Result<Node, Stop> {
        let rows = rows
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .map(|cell| {
                        self.fuel.spend(50)?;
                        Ok(Node::Expr(scalar.clone().times(into_expr(cell)?)))
                    })
                    .collect()
            })
            .collect::<Result<_, Stop>>()?;
        Ok(Node::Matrix(rows))
    }

    pub(super) fn matrix_sum(
        &mut self,
        left: Vec<Vec<Node>>,
        right: Vec<Vec<Node>>,
        minus: bool,
    ) -> Result<Node, Stop> {
        if left.len() != right.len() || left[0].len() != right[0].len() {
            return Err(Stop::Unreadable("a sum of matrices of different shape"));
        }
        let mut rows = left;
        for (row, other) in rows.iter_mut().zip(right) {
            for (cell, term) in row.iter_mut().zip(other) {
                self.fuel.spend(50)?;
                let term = into_expr(term)?;
                let term = if minus { term.negated() } else { term };
                let sum = into_expr(cell.clone())?.plus(term);
                *cell = Node::Expr(sum);
            }
        }
        Ok(Node::Matrix(rows))
    }

    fn matrix_product(&mut self, left: &[Vec<Node>], right: &[Vec<Node>]) -> Result<Node, Stop> {
        if left[0].len() != right.len() {
            return Err(Stop::Unreadable("a product of matrices that do not fit"));
        }
        let mut rows = Vec::with_capacity(left.len());
        for row in left {
            let mut cells = Vec::with_capacity(right[0].len());
            for column in 0..right[0].len() {
                let mut terms = Vec::with_capacity(row.len());
                for (factor, other) in row.iter().zip(right) {
                    let product =
                        into_expr(factor.clone())?.times(into_expr(other[column].clone())?);
                    // Before the next product clones it.
                    self.fuel.spend(20 * product.size())?;
                    if product.size() > MAX_CELL {
                        return Err(Stop::Unreadable("a product of matrices that grows too large"));
                    }
                    terms.push(product);
                }
                cells.push(Node::Expr(Expr::Add(terms)));
            }
            rows.push(cells);
        }
        Ok(Node::Matrix(rows))
    }
}
