//! `#[derive(Row)]`: the columns of a struct, how to read one row of them, and how to write one.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Generics, LitStr, Result, Type};

struct Column<'i> {
    ident: &'i syn::Ident,
    name: String,
    ty: &'i Type,
}

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let columns = columns(input)?;
    let lifetime = lifetime(&input.generics)?;
    let row = &input.ident;
    let bound = format_ident!("{row}Columns");
    let visibility = &input.vis;
    let own = lifetime.then(|| quote!(<'row>));
    let idents: Vec<_> = columns.iter().map(|column| column.ident).collect();
    let names: Vec<_> = columns.iter().map(|column| &column.name).collect();
    let types: Vec<_> = columns.iter().map(|column| borrowed(column.ty)).collect();
    let places: Vec<_> = (0..columns.len()).collect();
    let count = columns.len();
    // What is read is no longer there than its table, so a row of static texts is one that is written.
    let read = (!columns.iter().any(|column| names_static(column.ty))).then(|| {
        quote! {
            #[doc(hidden)]
            #[derive(Clone, Copy)]
            #visibility struct #bound<'row> {
                #(#idents: <#types as ::conveyor_sdk::Value<'row>>::Column,)*
                row: ::core::marker::PhantomData<&'row ()>,
            }

            impl<'row> ::conveyor_sdk::ReadRow<'row> for #row #own {
                type Columns = #bound<'row>;

                fn bind(table: &'row ::conveyor_sdk::Table) -> ::conveyor_sdk::Result<#bound<'row>> {
                    ::core::result::Result::Ok(#bound {
                        #(#idents: <#types as ::conveyor_sdk::Value<'row>>::bind(table, #places, #names)?,)*
                        row: ::core::marker::PhantomData,
                    })
                }

                #[inline(always)]
                fn read(columns: &#bound<'row>, at: ::conveyor_sdk::At) -> Self {
                    Self { #(#idents: <#types as ::conveyor_sdk::Value<'row>>::read(&columns.#idents, at),)* }
                }
            }
        }
    });

    Ok(quote! {
        const _: () = {
            #read

            impl<'row> ::conveyor_sdk::FieldsOf for #row #own {
                fn fields() -> ::std::vec::Vec<::conveyor_sdk::Field> {
                    ::std::vec![#(<#types as ::conveyor_sdk::Value<'row>>::field(#names)),*]
                }
            }

            impl<'row> ::conveyor_sdk::WriteRow for #row #own {
                const COLUMNS: usize = #count;

                #[inline(always)]
                fn write(&self, columns: &mut ::conveyor_sdk::RowColumns<'_>) {
                    #(<#types as ::conveyor_sdk::Value<'row>>::write(&self.#idents, columns.column(#places));)*
                }
            }
        };
    })
}

fn columns(input: &DeriveInput) -> Result<Vec<Column<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "a row is a struct"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(input, "a row has named fields, one for each column"));
    };
    let mut columns: Vec<Column<'_>> = Vec::new();
    for field in &fields.named {
        let Some(ident) = &field.ident else { continue };
        let mut name = ident.to_string().trim_start_matches("r#").to_owned();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("name") {
                    return Err(meta.error("only `name = \"...\"` is known here"));
                }
                name = meta.value()?.parse::<LitStr>()?.value();
                Ok(())
            })?;
        }
        if columns.iter().any(|column| column.name == name) {
            return Err(Error::new_spanned(field, format!("the column `{name}` is named twice")));
        }
        columns.push(Column { ident, name, ty: &field.ty });
    }
    Ok(columns)
}

/// Whether the row borrows. It may have one lifetime and nothing else.
fn lifetime(generics: &Generics) -> Result<bool> {
    let mut parameters = generics.params.iter();
    match (parameters.next(), parameters.next()) {
        (None, _) => Ok(false),
        (Some(GenericParam::Lifetime(_)), None) => Ok(true),
        _ => Err(Error::new_spanned(generics, "a row has at most one lifetime, and no other parameter")),
    }
}

/// Whether the type says `'static` anywhere.
fn names_static(ty: &Type) -> bool {
    quote!(#ty).to_string().contains("'static")
}

/// The type with every lifetime in it, said or left out, made that of the impl.
fn borrowed(ty: &Type) -> TokenStream {
    let mut ty = ty.clone();
    rename(&mut ty);
    quote!(#ty)
}

fn rename(ty: &mut Type) {
    let row = syn::Lifetime::new("'row", proc_macro2::Span::call_site());
    match ty {
        Type::Reference(reference) => {
            reference.lifetime = Some(row);
            rename(&mut reference.elem);
        }
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                if let syn::PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
                    for argument in &mut arguments.args {
                        match argument {
                            syn::GenericArgument::Lifetime(lifetime) => *lifetime = row.clone(),
                            syn::GenericArgument::Type(inner) => rename(inner),
                            _ => {}
                        }
                    }
                }
            }
        }
        Type::Slice(slice) => rename(&mut slice.elem),
        Type::Paren(inner) => rename(&mut inner.elem),
        Type::Group(inner) => rename(&mut inner.elem),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn what_is_no_row_is_refused_with_why() {
        let cases: [(DeriveInput, &str); 6] = [
            (parse_quote! { enum Row { A } }, "a row is a struct"),
            (parse_quote! { struct Row(i32); }, "a row has named fields"),
            (parse_quote! { struct Row<T> { a: T } }, "at most one lifetime"),
            (parse_quote! { struct Row<'a, 'b> { a: &'a str, b: &'b str } }, "at most one lifetime"),
            (
                parse_quote! { struct Row { #[row(rename = "b")] a: i32 } },
                "only `name = \"...\"` is known here",
            ),
            (
                parse_quote! { struct Row { a: i32, #[row(name = "a")] b: i32 } },
                "the column `a` is named twice",
            ),
        ];
        for (input, message) in cases {
            let error = expand(&input).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn lifetimes_become_those_of_the_impl() {
        for (ty, expected) in [
            (parse_quote!(&'a str), quote!(&'row str)),
            (parse_quote!(Option<&[u8]>), quote!(Option<&'row [u8]>)),
            (parse_quote!(Option<Json<'x>>), quote!(Option<Json<'row>>)),
            (parse_quote!(&'static str), quote!(&'row str)),
            (parse_quote!(f64), quote!(f64)),
        ] {
            let (found, expected) = (borrowed(&ty).to_string(), expected.to_string());
            assert_eq!(found.replace(' ', ""), expected.replace(' ', ""));
        }
    }
}
