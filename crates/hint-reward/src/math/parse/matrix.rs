//! Matrices, determinants, and products and sums that involve them.

use crate::math::fuel::Stop;
use crate::math::lex::token::Kind;
use crate::math::parse::parser::{Parser, into_expr};
use crate::math::tree::node::{Expr, Node};

/// Nodes beyond which a cell of a matrix product is not built.
const MAX_CELL: u64 = 2000;

/// Rows beyond which a determinant is not expanded.
const MAX_DETERMINANT: usize = 4;

impl Parser<'_, '_, '_> {
    /// A matrix from behind its `\begin`.
    pub(crate) fn matrix(&mut self, name: &str) -> Result<Node, Stop> {
        self.matrices += 1;
        let mut rows = vec![Vec::new()];
        loop {
            let cell =
                if matches!(self.peek(), Some(Kind::Ampersand | Kind::RowBreak | Kind::End(_))) {
                    None
                } else if name == "cases" && !rows[rows.len() - 1].is_empty() {
                    Some(self.case_condition()?)
                } else {
                    Some(self.list()?)
                };
            let row = rows.len() - 1;
            rows[row].extend(cell);
            match self.peek() {
                Some(Kind::Ampersand) => self.at += 1,
                Some(Kind::RowBreak) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Kind::End(_)) => {
                    self.at += 1;
                    break;
                }
                _ => return Err(Stop::Unreadable("a matrix that does not end")),
            }
        }
        self.matrices -= 1;
        rows.retain(|row| !row.is_empty());
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Stop::Unreadable("a matrix with rows of different length"));
        }
        if name == "vmatrix" {
            return self.determinant(&rows).map(Node::Expr);
        }
        if name == "cases" && width == 2 {
            let branches = rows.into_iter().filter_map(|row| <[Node; 2]>::try_from(row).ok());
            return Ok(Node::Piecewise(
                branches.map(|[value, condition]| (value, condition)).collect(),
            ));
        }
        if matches!(name, "array" | "cases") && width == 1 {
            if rows.len() == 1
                && let Some(only) = rows.iter_mut().flatten().next()
            {
                return Ok(std::mem::replace(only, Node::Set(Vec::new())));
            }
            // A system of equations.
            return Ok(Node::List(rows.into_iter().flatten().collect()));
        }
        Ok(Node::Matrix(rows))
    }

    /// A matrix or vector with `^T` behind it, transposed. A vector in brackets has no direction.
    pub(super) fn transposed(&mut self, node: Node) -> Node {
        let is = |ahead: usize, kind: Kind<'_>| self.peek_at(ahead) == Some(&kind);
        let is_vector = matches!(&node, Node::Tuple { items, .. } if items.len() > 1);
        if !is(0, Kind::Operator('^')) || !(is_vector || matches!(node, Node::Matrix(_))) {
            return node;
        }
        let grouped = is(1, Kind::Open('{')) && is(3, Kind::Close('{'));
        let name = if grouped { 2 } else { 1 };
        if !is(name, Kind::Name("T")) {
            return node;
        }
        self.at += if grouped { 4 } else { 2 };
        match node {
            Node::Matrix(rows) => {
                let column = |at: usize| rows.iter().map(|row| row[at].clone()).collect();
                Node::Matrix((0..rows[0].len()).map(column).collect())
            }
            vector => vector,
        }
    }

    /// The condition of a branch, as a formula or as words: `if n is even` is `n even`.
    fn case_condition(&mut self) -> Result<Node, Stop> {
        let is_glue = |kind: &Kind<'_>| {
            let (Kind::Word(text) | Kind::Text(text)) = kind else { return false };
            matches!(text.trim(), "if" | "when" | "for" | "where" | "is" | "are" | "If" | "all")
        };
        while self.peek().is_some_and(is_glue) {
            self.at += 1;
        }
        let start = self.at;
        if let Ok(node) = self.list()
            && matches!(self.peek(), Some(Kind::Ampersand | Kind::RowBreak | Kind::End(_)))
            && !matches!(node, Node::Text(_) | Node::Quantity(..))
        {
            return Ok(node);
        }
        self.at = start;
        let mut words = Vec::new();
        while let Some(kind) = self.peek() {
            match kind {
                Kind::Ampersand | Kind::RowBreak | Kind::End(_) => break,
                Kind::Comma => {}
                Kind::Word(text) | Kind::Text(text) => words.extend(
                    text.split_whitespace()
                        .filter(|word| !matches!(*word, "if" | "when" | "for" | "is" | "are")),
                ),
                Kind::Name(name) => words.push(name),
                _ => return Err(Stop::Unreadable("a condition that cannot be read")),
            }
            self.at += 1;
        }
        Ok(Node::text(match words.as_slice() {
            ["otherwise" | "else" | "elsewhere"] => "otherwise",
            _ => return Ok(Node::text(&words.join(" "))),
        }))
    }

    /// Expanded along the first row.
    fn determinant(&mut self, rows: &[Vec<Node>]) -> Result<Expr, Stop> {
        if rows.len() > MAX_DETERMINANT || rows.iter().any(|row| row.len() != rows.len()) {
            return Err(Stop::Unreadable("a determinant that is not square or too large"));
        }
        let [first, below @ ..] = rows else { return Ok(Expr::integer(1)) };
        let mut sum = Vec::with_capacity(first.len());
        for (column, cell) in first.iter().enumerate() {
            let minor: Vec<Vec<Node>> = below
                .iter()
                .map(|row| {
                    let mut row = row.clone();
                    row.remove(column);
                    row
                })
                .collect();
            let term = into_expr(cell.clone())?.times(self.determinant(&minor)?);
            self.fuel.spend(20 * term.size())?;
            if term.size() > MAX_CELL {
                return Err(Stop::Unreadable("a determinant that grows too large"));
            }
            sum.push(if column % 2 == 0 { term } else { term.negated() });
        }
        Ok(Expr::Add(sum))
    }

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
